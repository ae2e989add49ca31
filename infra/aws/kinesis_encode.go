package aws

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// putProtocol is the SDK's protocol with a PutRecords that writes its body once, into memory of the right size. The SDK's own
// grows a buffer and copies it at the end, which made more than five times the records' bytes of garbage; every ack goes this
// way.
type putProtocol struct{ smithyhttp.ClientProtocol }

// SerializeRequest makes the body of a request, and what of its head goes with it.
func (p putProtocol) SerializeRequest(
	ctx context.Context, op *smithy.OperationSchema, in smithy.Serializable, req *smithyhttp.Request,
) error {
	put, ok := in.(*kinesis.PutRecordsInput)
	if !ok {
		return p.ClientProtocol.SerializeRequest(ctx, op, in, req)
	}
	if err := p.ClientProtocol.SerializeRequest(ctx, op, &kinesis.PutRecordsInput{}, req); err != nil { // for the head
		return err
	}
	body, err := encodePut(put)
	if err != nil {
		return err
	}
	whole, err := req.SetStream(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("set the body: %w", err)
	}
	*req = *whole
	return nil
}

// encodePut writes the name of the stream and the records as JSON, bytes in base64
// (https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html).
func encodePut(in *kinesis.PutRecordsInput) ([]byte, error) {
	const around = 256 // names of the members, a hash key of 39 digits; partition keys come on top
	size := around
	for i := range in.Records {
		r := &in.Records[i]
		size += base64.StdEncoding.EncodedLen(len(r.Data)) + 2*len(*r.PartitionKey) + around
	}
	b := make([]byte, 0, size)
	b = append(b, `{"StreamName":`...)
	b, err := appendString(b, in.StreamName)
	if err != nil {
		return nil, err
	}
	b = append(b, `,"Records":[`...)
	for i := range in.Records {
		r := &in.Records[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"PartitionKey":`...)
		if b, err = appendString(b, r.PartitionKey); err != nil {
			return nil, err
		}
		b = append(b, `,"ExplicitHashKey":"`...)
		b = append(b, *r.ExplicitHashKey...)
		b = append(b, `","Data":"`...)
		b = base64.StdEncoding.AppendEncode(b, r.Data)
		b = append(b, `"}`...)
	}
	return append(b, `]}`...), nil
}

func appendString(b []byte, s *string) ([]byte, error) {
	text, err := json.Marshal(sdk.ToString(s))
	if err != nil {
		return nil, fmt.Errorf("encode %q: %w", sdk.ToString(s), err)
	}
	return append(b, text...), nil
}
