package faultproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// putRecords is the request. Everything else in it is kept as it is.
type putRecords struct{ Records []json.RawMessage }

// putAnswer is the answer, and what is told of one record.
type putAnswer struct {
	FailedRecordCount int
	Records           []json.RawMessage
	EncryptionType    string `json:",omitempty"`
}

type failedRecord struct{ ErrorCode, ErrorMessage string }

// ThrottleRecords refuses each record of a PutRecords with the probability, and forwards the others: an answer with status 200.
func ThrottleRecords(probability float64) Fault {
	f := failRecords("ProvisionedThroughputExceededException", probability, false)
	return Fault{"throttle records", f}
}

// FailRecords tells of each record of a PutRecords with the probability that it failed inside of Kinesis, though it landed.
func FailRecords(probability float64) Fault {
	return Fault{"fail records", failRecords("InternalFailure", probability, true)}
}

func failRecords(code string, probability float64, landed bool) func(context.Context, *exchange) (*answer, error) {
	return func(ctx context.Context, x *exchange) (*answer, error) {
		var asked putRecords
		if err := json.Unmarshal(x.body, &asked); err != nil {
			return nil, fmt.Errorf("fault proxy: %s is no PutRecords: %w", x.Operation, err)
		}
		failed := make([]bool, len(asked.Records))
		for i := range failed {
			failed[i] = x.random.Float64() < probability
		}
		return putWithout(ctx, x.request, failed, code, landed, x.proxy.land)
	}
}

// putWithout answers a PutRecords with an error for each record that failed. Those are not forwarded, unless they landed.
func putWithout(ctx context.Context, r *request, failed []bool, code string, landed bool, next deliver) (*answer, error) {
	var whole object
	var asked putRecords
	if err := json.Unmarshal(r.body, &whole); err != nil {
		return nil, fmt.Errorf("fault proxy: PutRecords: %w", err)
	}
	if err := json.Unmarshal(r.body, &asked); err != nil {
		return nil, fmt.Errorf("fault proxy: PutRecords: %w", err)
	}
	var kept []json.RawMessage
	for i, record := range asked.Records {
		if landed || !failed[i] {
			kept = append(kept, record)
		}
	}
	a, told := jsonAnswer(putAnswer{}), putAnswer{}
	if len(kept) > 0 {
		whole["Records"] = mustJSON(kept)
		var err error
		if a, err = next(ctx, r.with(mustJSON(whole))); err != nil || a.status != http.StatusOK {
			return a, err
		}
		if err := json.Unmarshal(a.body, &told); err != nil {
			return nil, fmt.Errorf("fault proxy: answer of PutRecords: %w", err)
		}
	}
	if len(told.Records) != len(kept) {
		return nil, fmt.Errorf("fault proxy: %d answers for %d records", len(told.Records), len(kept))
	}
	results := make([]json.RawMessage, 0, len(failed))
	for _, f := range failed {
		result := json.RawMessage(mustJSON(failedRecord{code, "made by the fault proxy"}))
		if landed || !f {
			if !f {
				result = told.Records[0]
			}
			told.Records = told.Records[1:]
		}
		results = append(results, result)
	}
	told.Records, told.FailedRecordCount = results, countFailed(results)
	return a.with(mustJSON(told)), nil
}

func countFailed(results []json.RawMessage) int {
	count := 0
	for _, result := range results {
		var failed failedRecord
		if err := json.Unmarshal(result, &failed); err == nil && failed.ErrorCode != "" {
			count++
		}
	}
	return count
}

// ExpireIterator answers a GetRecords as if its iterator were over 5 min old.
func ExpireIterator() Fault {
	f := ErrorBefore(http.StatusBadRequest, "ExpiredIteratorException")
	return Fault{"expire iterator", f.befall}
}

// StaleIterator answers a GetRecords with the records, but with the iterator it was asked with as the next one, so that
// they are read once more.
func StaleIterator() Fault {
	return Fault{"stale iterator", func(ctx context.Context, x *exchange) (*answer, error) {
		a, err := pass(ctx, x)
		if err != nil || a.status != http.StatusOK {
			return a, err
		}
		var asked, told object
		if err := json.Unmarshal(x.body, &asked); err != nil {
			return nil, fmt.Errorf("fault proxy: GetRecords: %w", err)
		}
		if err := json.Unmarshal(a.body, &told); err != nil {
			return nil, fmt.Errorf("fault proxy: answer of GetRecords: %w", err)
		}
		told["NextShardIterator"] = asked["ShardIterator"]
		return a.with(mustJSON(told)), nil
	}}
}

// jsonAnswer is a good answer.
func jsonAnswer(v any) *answer {
	header := http.Header{}
	header.Set("Content-Type", "application/x-amz-json-1.1")
	return &answer{http.StatusOK, header, mustJSON(v)}
}
