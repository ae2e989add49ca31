package aws

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"penstock/ingest"
)

// putVia makes one PutRecords against the endpoint, without retries.
func putVia(ctx context.Context, endpoint string, creds sdk.CredentialsProvider) error {
	client := kinesis.New(kinesis.Options{
		BaseEndpoint: &endpoint, Region: "eu-central-1", Credentials: creds, Retryer: once(), HTTPClient: &http.Client{},
	})
	_, err := client.PutRecords(ctx, &kinesis.PutRecordsInput{StreamName: sdk.String("s"), Records: []types.PutRecordsRequestEntry{{Data: []byte("d"), PartitionKey: sdk.String("p")}}})
	return err
}

// What real answers, and real failures to get one, are taken for.
func TestOutcome(t *testing.T) {
	t.Parallel()
	valid := credentials.NewStaticCredentialsProvider("id", "secret", "")
	answering := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body) // the client sees what is missing
		}
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    error // nil: final
	}{
		"throttled":          {answering(400, `{"__type":"ProvisionedThroughputExceededException"}`), ingest.ErrThrottled},
		"throttled, full":    {answering(400, `{"__type":"com.amazonaws#LimitExceededException"}`), ingest.ErrThrottled},
		"429 without a code": {answering(429, ``), ingest.ErrThrottled},
		"slow down, 503":     {answering(503, `{"__type":"SlowDown"}`), ingest.ErrThrottled},
		"no such stream":     {answering(400, `{"__type":"ResourceNotFoundException"}`), nil},
		"denied":             {answering(403, `{"__type":"AccessDeniedException"}`), nil},
		"500":                {answering(500, `{"__type":"InternalFailure"}`), ingest.ErrAmbiguous},
		"503 of a proxy":     {answering(503, `<html>`), ingest.ErrAmbiguous},
		"200 that is cut":    {answering(200, `{"FailedRecordCount":0,`), ingest.ErrAmbiguous},
		"cut before any answer": {func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, ingest.ErrAmbiguous},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(test.handler)
			defer server.Close()
			checkOutcome(t, putVia(t.Context(), server.URL, valid), test.want)
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		checkOutcome(t, putVia(t.Context(), nobodyListens, valid), ingest.ErrThrottled)
	})
	t.Run("given up while it waits", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // or the server does not look out for the client's leaving
			cancel()
			<-r.Context().Done()
		}))
		defer server.Close()
		checkOutcome(t, putVia(ctx, server.URL, valid), ingest.ErrAmbiguous)
	})
	t.Run("no credentials", func(t *testing.T) {
		t.Parallel()
		none := sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{}, errors.New("expired")
		})
		checkOutcome(t, putVia(t.Context(), nobodyListens, none), nil)
	})
	if outcome(nil) != nil {
		t.Error("nil is not nil")
	}
}

func checkOutcome(t *testing.T, err, want error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	got := outcome(err)
	if !errors.Is(got, err) {
		t.Errorf("%v is lost in %v", err, got)
	}
	for _, class := range []error{ingest.ErrThrottled, ingest.ErrAmbiguous} {
		if errors.Is(got, class) != errors.Is(want, class) {
			t.Errorf("%v: is %v? %v", err, class, errors.Is(got, class))
		}
	}
}
