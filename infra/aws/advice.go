package aws

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
)

// advised adds to an error of a service what an operator is to do about it; see advice.
func advised(err error, region, action string) error {
	return fmt.Errorf("%s: %w", advice(err, action, region), err)
}

// advice tells an operator what to do about an error that a service in the region answered, or that kept it from being asked.
// action is the permission that the call needs, such as "kinesis:PutRecords".
//
// The codes are those that all services share
// (https://docs.aws.amazon.com/kinesis/latest/APIReference/CommonErrors.html), and S3's own
// (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
func advice(err error, action, region string) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return adviceWithoutAnswer(err, region)
	}
	switch code := api.ErrorCode(); {
	case code == "ExpiredToken" || code == "ExpiredTokenException" || code == "RequestExpired":
		return "the credentials have expired: renew them"
	case code == "UnrecognizedClientException" || code == "InvalidClientTokenId" || code == "InvalidAccessKeyId" ||
		code == "MissingAuthenticationToken":
		return fmt.Sprintf("the access key is not known in region %s: check AWS_ACCESS_KEY_ID or the profile, and that the account has "+
			"this region enabled", region)
	case code == "InvalidSignatureException" || code == "SignatureDoesNotMatch" || code == "IncompleteSignature":
		return fmt.Sprintf("the request's signature is not accepted: check the secret key, that the endpoint is one of region %s, and "+
			"this host's clock, which may be off by 5 minutes at most", region)
	case strings.HasPrefix(code, "AccessDenied") || code == "NotAuthorized":
		return fmt.Sprintf("allow %s to these credentials", action)
	case strings.HasPrefix(code, "KMS"):
		return "check the KMS key: that it is enabled, and that these credentials may use it (kms:GenerateDataKey to write, kms:Decrypt to read)"
	case code == "ResourceNotFoundException" || code == "NoSuchBucket" || code == "EntityNotFoundException": // the last is Glue's
		return fmt.Sprintf("check the name, and that region %s is the one that has it", region)
	case code == "PermanentRedirect" || code == "AuthorizationHeaderMalformed" || statusOf(err) == http.StatusMovedPermanently:
		return fmt.Sprintf("the bucket is not in region %s: set AWS_REGION to the one that has it", region)
	default:
		return fmt.Sprintf("it was asked for %s in region %s", action, region)
	}
}

// adviceWithoutAnswer is for when there was nothing that the service answered.
func adviceWithoutAnswer(err error, region string) string {
	var lookup *net.DNSError
	switch {
	case errors.As(err, &lookup):
		return fmt.Sprintf("there is no host of that name: check that region %q exists, and the endpoint if one is set", region)
	case isSent(err):
		return "there is no connection, or no answer in time: check the network, a proxy, and the endpoint if one is set"
	default:
		return "the request could not be made; if credentials are missing, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or " +
			"AWS_PROFILE, or give the host a role"
	}
}
