package aws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"penstock/ingest"
)

// throttles are the error codes by which a service says that it did nothing because there is too much to do
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html, and each service's API reference).
var throttles = []string{
	"LimitExceededException",
	"PriorRequestNotComplete",
	"ProvisionedThroughputExceededException",
	"RequestLimitExceeded",
	"SlowDown",
	"Throttling",
	"ThrottledException",
	"ThrottlingException",
	"TooManyRequestsException",
	"KMSThrottlingException",
}

// outcome says what became of a write that ended with err, by wrapping it: ingest.ErrThrottled when it certainly did nothing
// and is worth another try, ingest.ErrAmbiguous when nobody knows, and err as it is when it is final. nil stays nil.
//
// Only an answer can prove that nothing was done. Without one, the request may have been carried out, may be under way, and
// may even be carried out later; the exception is a connection that was never made.
func outcome(err error) error {
	var api smithy.APIError
	var op *net.OpError
	status := statusOf(err)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api) && slices.Contains(throttles, api.ErrorCode()), status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %w", ingest.ErrThrottled, err)
	case status >= 300 && status < 500: // a redirect, which the SDK does not follow, is of a bucket in another region
		return err
	case status == 0 && errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%w: %w", ingest.ErrThrottled, err)
	case status == 0 && !isSent(err):
		return err
	default:
		return fmt.Errorf("%w: %w", ingest.ErrAmbiguous, err)
	}
}

// statusOf is the status of the answer, 0 when there is none.
func statusOf(err error) int {
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil && answer.Response.Response != nil {
		return answer.HTTPStatusCode()
	}
	return 0
}

// isSent reports whether a request that has no answer may have left this process: what fails before that (a parameter that
// is missing, credentials that can't be had) never names a failed sending or the end of its context.
func isSent(err error) bool {
	var sending interface{ ConnectionError() bool }
	var canceled *smithy.CanceledError
	return errors.As(err, &sending) || errors.As(err, &canceled) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) || isNetwork(err)
}

func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network)
}

// hasCode reports whether a service answered with the error code.
func hasCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}
