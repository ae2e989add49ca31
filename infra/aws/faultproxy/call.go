package faultproxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The services, as IAM names them.
const (
	Kinesis  = "kinesis"
	DynamoDB = "dynamodb"
	S3       = "s3"
	Glue     = "glue"
)

// Call is what a client has asked for.
type Call struct {
	Service   string // as IAM names it: Kinesis, DynamoDB, S3 or Glue
	Operation string // as the service's API reference names it
	// Resource is the stream, the table, the bucket, or database and table with a dot between them; several tables likewise. It
	// is empty when the request names none.
	Resource string
	// Fault that befell it; empty for none.
	Fault string
	// Status of the answer that the client got; 0 when the connection was cut instead.
	Status int
}

func (c Call) String() string {
	text := fmt.Sprintf("%s:%s %s → %d", c.Service, c.Operation, c.Resource, c.Status)
	if c.Fault != "" {
		text += " (" + c.Fault + ")"
	}
	return text
}

// targets are the services by the prefix of X-Amz-Target, with which the JSON protocols name their operation.
var targets = map[string]string{"Kinesis_20131202": Kinesis, "DynamoDB_20120810": DynamoDB, "AWSGlue": Glue}

// callOf reads what is asked for. The SDK speaks awsJson1_1 with Kinesis and Glue, awsJson1_0 with DynamoDB, and REST with S3.
func callOf(r *request) Call {
	target := r.header.Get("X-Amz-Target")
	if prefix, operation, ok := strings.Cut(target, "."); ok {
		return Call{Service: targets[prefix], Operation: operation, Resource: resourceOf(r.body)}
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.url.Path, "/"), "/")
	return Call{Service: S3, Operation: s3Operation(r, bucket, key), Resource: bucket}
}

// resourceOf reads the names of a JSON request, whichever its service has.
func resourceOf(body []byte) string {
	var named struct {
		StreamName, StreamARN, TableName, DatabaseName, Name string
		TableInput, DatabaseInput                            struct{ Name string }
		RequestItems                                         map[string]json.RawMessage
	}
	if err := json.Unmarshal(body, &named); err != nil {
		return "" // the peer will say what is wrong with it
	}
	if _, stream, ok := strings.Cut(named.StreamARN, ":stream/"); ok {
		return stream
	}
	tables := make([]string, 0, len(named.RequestItems))
	for table := range named.RequestItems {
		tables = append(tables, table)
	}
	slices.Sort(tables)
	parts := append([]string{named.StreamName, named.DatabaseName, named.DatabaseInput.Name, named.TableName, named.Name, named.TableInput.Name}, tables...)
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ".")
}

// s3Operation tells the operation from method, path and query.
func s3Operation(r *request, bucket, key string) string {
	query := r.url.Query()
	if id := query.Get("x-id"); id != "" { // the SDK says it itself, for most
		return id
	}
	of := s3Operations[r.method]
	for _, o := range of {
		if o.matches(query, bucket, key, r.header) {
			return o.name
		}
	}
	return r.method
}

type s3Form struct {
	name           string
	query          string // that must be there
	header         string // that must be there
	bucket, object bool   // what the path names: both for an object
}

func (o s3Form) matches(query url.Values, bucket, key string, header http.Header) bool {
	return (o.query == "" || query.Has(o.query)) && (o.header == "" || header.Get(o.header) != "") &&
		o.bucket == (bucket != "") && o.object == (key != "")
}

// s3Operations that Penstock or its tests may use; of each method the special ones first.
var s3Operations = map[string][]s3Form{
	http.MethodGet: {
		{"ListBuckets", "", "", false, false}, {"GetBucketLocation", "location", "", true, false},
		{"ListMultipartUploads", "uploads", "", true, false}, {"ListObjectsV2", "", "", true, false},
		{"ListParts", "uploadId", "", true, true}, {"GetObject", "", "", true, true},
	},
	http.MethodHead: {{"HeadBucket", "", "", true, false}, {"HeadObject", "", "", true, true}},
	http.MethodPut: {
		{"CreateBucket", "", "", true, false}, {"UploadPart", "partNumber", "", true, true},
		{"CopyObject", "", "X-Amz-Copy-Source", true, true}, {"PutObject", "", "", true, true},
	},
	http.MethodPost: {
		{"DeleteObjects", "delete", "", true, false}, {"PostObject", "", "", true, false},
		{"CreateMultipartUpload", "uploads", "", true, true}, {"CompleteMultipartUpload", "uploadId", "", true, true},
	},
	http.MethodDelete: {
		{"DeleteBucket", "", "", true, false}, {"AbortMultipartUpload", "uploadId", "", true, true}, {"DeleteObject", "", "", true, true},
	},
}
