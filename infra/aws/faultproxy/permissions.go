package faultproxy

import "slices"

// s3Actions are IAM's names for the operations of S3 that are permitted under another one
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html).
var s3Actions = map[string]string{
	"HeadBucket": "ListBucket", "ListObjectsV2": "ListBucket", "HeadObject": "GetObject", "DeleteObjects": "DeleteObject",
	"PostObject": "PutObject", "CopyObject": "PutObject", "CreateMultipartUpload": "PutObject", "UploadPart": "PutObject",
	"CompleteMultipartUpload": "PutObject", "ListParts": "ListMultipartUploadParts", "ListMultipartUploads": "ListBucketMultipartUploads",
	"ListBuckets": "ListAllMyBuckets",
}

// Permissions are what the calls so far need of IAM, each once and sorted: the action and, after a space, the resource where
// the request names one. That of a GetRecords is the stream whose iterator was handed out here.
func (p *Proxy) Permissions() []string {
	var needed []string
	for _, call := range p.Calls() {
		action := call.Operation
		if other, ok := s3Actions[action]; ok && call.Service == S3 {
			action = other
		}
		text := call.Service + ":" + action
		if call.Resource != "" {
			text += " " + call.Resource
		}
		needed = append(needed, text)
	}
	slices.Sort(needed)
	return slices.Compact(needed)
}
