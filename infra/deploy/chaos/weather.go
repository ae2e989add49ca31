package main

import (
	"net/http"
	"slices"
	"time"

	"penstock/infra/aws/faultproxy"
)

// longRound is the least length of a round in which requests may land 4 min late; else the wait for them would be most of it.
const longRound = 5 * time.Minute

// weathers are the faults by name. A rule that stands first comes first: what it does not befall goes to the next.
func weathers(length time.Duration) map[string][]faultproxy.Rule {
	all := map[string][]faultproxy.Rule{
		"throttling": throttling(1), "errors": failing(1), "lost answers": losing(1), "late originals": late(1, length),
	}
	all["all of it"] = slices.Concat(late(0.5, length), losing(0.5), failing(0.5), throttling(0.5))
	for name, rules := range all { // there is less than one commit a second, so that some weathers see few
		all[name] = append(rules, rule(faultproxy.Glue, "UpdateTable", 0.2, faultproxy.LoseAnswer()))
	}
	return all
}

// rule befalls a share of the calls of an operation; an empty one stands for all of the service.
func rule(service, operation string, share float64, do faultproxy.Fault) faultproxy.Rule {
	return faultproxy.Rule{Service: service, Operation: operation, When: faultproxy.Chance(share), Do: do}
}

func throttling(much float64) []faultproxy.Rule {
	throughput := faultproxy.ErrorBefore(http.StatusBadRequest, "ProvisionedThroughputExceededException")
	return []faultproxy.Rule{
		rule(faultproxy.Kinesis, "PutRecords", 0.4*much, faultproxy.ThrottleRecords(0.5)),
		rule(faultproxy.Kinesis, "GetRecords", 0.1*much, throughput),
		rule(faultproxy.Kinesis, "GetRecords", 0.05*much, faultproxy.ExpireIterator()),
		rule(faultproxy.Kinesis, "GetRecords", 0.05*much, faultproxy.StaleIterator()),
		rule(faultproxy.Kinesis, "ListShards", 0.2*much, faultproxy.ErrorBefore(http.StatusBadRequest, "LimitExceededException")),
		rule(faultproxy.DynamoDB, "BatchWriteItem", 0.4*much, faultproxy.LeaveUnprocessed(0.4)),
		rule(faultproxy.DynamoDB, "", 0.05*much, throughput),
		rule(faultproxy.S3, "", 0.05*much, faultproxy.ErrorBefore(http.StatusServiceUnavailable, "SlowDown")),
		rule(faultproxy.Glue, "", 0.1*much, faultproxy.ErrorBefore(http.StatusBadRequest, "ThrottlingException")),
	}
}

func failing(much float64) []faultproxy.Rule {
	return []faultproxy.Rule{
		rule(faultproxy.Kinesis, "", 0.06*much, faultproxy.ErrorBefore(http.StatusInternalServerError, "InternalFailure")),
		rule(faultproxy.Kinesis, "", 0.04*much, faultproxy.Cut()),
		rule(faultproxy.DynamoDB, "", 0.03*much, faultproxy.ErrorBefore(http.StatusInternalServerError, "InternalServerError")),
		rule(faultproxy.DynamoDB, "", 0.02*much, faultproxy.Cut()),
		rule(faultproxy.S3, "", 0.03*much, faultproxy.ErrorBefore(http.StatusInternalServerError, "InternalError")),
		rule(faultproxy.S3, "", 0.02*much, faultproxy.Cut()),
		rule(faultproxy.Glue, "", 0.05*much, faultproxy.ErrorBefore(http.StatusInternalServerError, "InternalServiceException")),
		rule(faultproxy.Glue, "", 0.05*much, faultproxy.Cut()),
	}
}

func losing(much float64) []faultproxy.Rule {
	return []faultproxy.Rule{
		rule(faultproxy.Kinesis, "PutRecords", 0.06*much, faultproxy.LoseAnswer()),
		rule(faultproxy.Kinesis, "PutRecords", 0.06*much, faultproxy.ErrorAfter(http.StatusInternalServerError, "InternalFailure")),
		rule(faultproxy.Kinesis, "PutRecords", 0.1*much, faultproxy.FailRecords(0.5)),
		rule(faultproxy.Kinesis, "GetRecords", 0.03*much, faultproxy.LoseAnswer()),
		rule(faultproxy.DynamoDB, "", 0.04*much, faultproxy.LoseAnswer()),
		rule(faultproxy.DynamoDB, "", 0.02*much, faultproxy.ErrorAfter(http.StatusInternalServerError, "InternalServerError")),
		rule(faultproxy.S3, "", 0.03*much, faultproxy.LoseAnswer()),
		rule(faultproxy.S3, "", 0.02*much, faultproxy.ErrorAfter(http.StatusInternalServerError, "InternalError")),
		rule(faultproxy.Glue, "UpdateTable", 0.4*much, faultproxy.LoseAnswer()),
		rule(faultproxy.Glue, "UpdateTable", 0.1*much, faultproxy.ErrorAfter(http.StatusInternalServerError, "InternalServiceException")),
	}
}

// late requests land after their own retries, and after their clients are gone.
func late(much float64, length time.Duration) []faultproxy.Rule {
	rules := []faultproxy.Rule{
		rule(faultproxy.Kinesis, "PutRecords", 0.08*much, faultproxy.CutAndForwardLater(time.Second)),
		rule(faultproxy.Kinesis, "PutRecords", 0.05*much, faultproxy.CutAndForwardLater(30*time.Second)),
		rule(faultproxy.DynamoDB, "PutItem", 0.05*much, faultproxy.CutAndForwardLater(time.Second)),
		rule(faultproxy.DynamoDB, "BatchWriteItem", 0.05*much, faultproxy.CutAndForwardLater(time.Second)),
		rule(faultproxy.S3, "PutObject", 0.04*much, faultproxy.CutAndForwardLater(time.Second)),
		rule(faultproxy.Glue, "UpdateTable", 0.2*much, faultproxy.CutAndForwardLater(time.Second)),
	}
	if length >= longRound {
		rules = append(rules, rule(faultproxy.Kinesis, "PutRecords", 0.03*much, faultproxy.CutAndForwardLater(4*time.Minute)))
	}
	return rules
}
