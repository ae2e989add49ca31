package aws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"penstock/consumer"
)

const (
	// objectTime bounds the writing of an object, of at most schemas.MaxBody bytes, with the SDK's retries.
	objectTime = 60 * time.Second
	// silence is how long an object that is being read may give nothing.
	silence = 30 * time.Second
)

// errSilent: the store stopped sending in the middle of an object.
var errSilent = errors.New("no bytes came for " + silence.String())

// objects are those of one bucket. S3 answers 200 only when an object is stored durably, and reads are strongly consistent
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel).
type objects struct {
	client *s3.Client
	bucket string
}

func (o objects) ref(key string) string { return "s3://" + o.bucket + "/" + key }

// put stores the object, or puts the same in its place. It carries a CRC-32C, so that S3 refuses an object that was damaged
// on its way (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html). Once it returned, body
// is not looked at any more, which is the SDK's doing: net/http alone may go on reading when a request has failed.
func (o objects) put(ctx context.Context, key string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, objectTime)
	defer cancel()
	_, err := o.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: sdk.String(o.bucket), Key: sdk.String(key), Body: bytes.NewReader(body), ContentLength: sdk.Int64(int64(len(body))),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c,
	})
	if err != nil {
		return fmt.Errorf("storing %s: %w", o.ref(key), outcome(err))
	}
	return nil
}

// open streams the object; consumer.ErrNotFound when there is none. Without the permission s3:ListBucket S3 says that the
// object is forbidden instead (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html), hence ProveBucket.
func (o objects) open(ctx context.Context, key string) (io.ReadCloser, error) {
	d, err := o.download(ctx, key)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (o objects) download(ctx context.Context, key string) (*download, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stall := time.AfterFunc(silence, func() { cancel(errSilent) })
	out, err := o.client.GetObject(ctx, &s3.GetObjectInput{Bucket: sdk.String(o.bucket), Key: sdk.String(key)})
	stall.Stop()
	if err != nil {
		cause := context.Cause(ctx)
		cancel(nil)
		switch {
		case hasCode(err, "NoSuchKey"):
			return nil, fmt.Errorf("reading %s: %w", o.ref(key), consumer.ErrNotFound)
		case errors.Is(cause, errSilent):
			return nil, fmt.Errorf("reading %s: %w: %w", o.ref(key), errSilent, err)
		default:
			return nil, fmt.Errorf("reading %s: %w", o.ref(key), outcome(err))
		}
	}
	return &download{
		ctx: ctx, cancel: cancel, stall: stall, body: out.Body, ref: o.ref(key), size: sdk.ToInt64(out.ContentLength), closed: func() {},
	}, nil
}

// size of the object in bytes; consumer.ErrNotFound when there is none.
func (o objects) size(ctx context.Context, key string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := o.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: sdk.String(o.bucket), Key: sdk.String(key)})
	switch {
	case statusOf(err) == http.StatusNotFound: // the answer to a HEAD has no text that would name a code
		return 0, fmt.Errorf("looking for %s: %w", o.ref(key), consumer.ErrNotFound)
	case err != nil:
		return 0, fmt.Errorf("looking for %s: %w", o.ref(key), outcome(err))
	}
	return sdk.ToInt64(out.ContentLength), nil
}

// read returns the whole object, of at most limit bytes.
func (o objects) read(ctx context.Context, key string, limit int64) (data []byte, err error) {
	r, err := o.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	data, err = io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("reading %s: more than %d bytes: %w", o.ref(key), limit, errCorrupt)
	}
	return data, nil
}

// remove deletes the object, if it is there.
func (o objects) remove(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, objectTime)
	defer cancel()
	_, err := o.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: sdk.String(o.bucket), Key: sdk.String(key)})
	if err != nil {
		return fmt.Errorf("deleting %s: %w", o.ref(key), outcome(err))
	}
	return nil
}

// download is an object on its way. A store that falls silent ends it: the caller may have no deadline of its own.
type download struct {
	ctx    context.Context // of the request
	cancel context.CancelCauseFunc
	stall  *time.Timer
	body   io.ReadCloser
	ref    string
	size   int64
	closed func() // is called by Close
}

func (d *download) Read(p []byte) (int, error) {
	d.stall.Reset(silence)
	n, err := d.body.Read(p)
	d.stall.Stop() // a slow reader is not a silent store
	if err != nil && !errors.Is(err, io.EOF) {
		if errors.Is(context.Cause(d.ctx), errSilent) {
			err = errSilent
		}
		err = fmt.Errorf("reading %s: %w", d.ref, err)
	}
	return n, err
}

func (d *download) Close() error {
	defer d.closed()
	d.stall.Stop()
	d.cancel(nil)
	if err := d.body.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", d.ref, err)
	}
	return nil
}
