//go:build !frontend

package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path"
	"regexp"
	"strings"
	"time"

	icebergio "github.com/apache/iceberg-go/io"
	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

var (
	_ icebergio.WriteFileIO = (*Files)(nil)
	_ icebergio.ReadFileIO  = (*Files)(nil)
)

// fileTime bounds one request, of at most partBytes or one metadata file, with the SDK's retries.
const fileTime = time.Minute

var (
	// fileLocation is an S3 URI. The key's characters are those that S3 calls safe and that mean the same in a URI, since
	// iceberg-go makes URLs of the names and others take them as they are
	// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
	fileLocation = regexp.MustCompile(`^s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9_.-]+)+)$`)

	errNotHere = errors.New("not in the table's place")
)

// Files are the files of the lake's table, below a prefix of a bucket. An object is stored durably when S3 has answered 200,
// and whoever reads after that sees it (https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel).
// None is ever replaced.
//
// The calls that iceberg-go makes carry no context. Each request ends after fileTime, and with the context that the Files
// were made with.
type Files struct {
	client         *s3.Client
	ctx            context.Context
	bucket, prefix string // the prefix without a slash at its end
}

// NewFiles makes the files of a table at location, s3://bucket/prefix. It talks to nobody yet. ctx ends every request.
func NewFiles(ctx context.Context, client *s3.Client, location string) (*Files, error) {
	parts := fileLocation.FindStringSubmatch(location)
	if parts == nil || path.Clean(parts[2]) != parts[2] {
		return nil, fmt.Errorf("lake location %q: want s3://bucket/prefix, the prefix of letters, digits, and _ . - between slashes",
			location)
	}
	return &Files{client: client, ctx: ctx, bucket: parts[1], prefix: parts[2][1:]}, nil
}

// Location is the URI of the table's directory.
func (f *Files) Location() string { return f.uri(f.prefix) }

func (f *Files) uri(key string) string { return "s3://" + f.bucket + "/" + key }

// Adopt refuses a table whose files lie somewhere else: the names in its metadata are whole URIs, so a copy would go on reading
// and writing the files of its original.
func (f *Files) Adopt(location string) error {
	if location != f.Location() {
		return fmt.Errorf("the table's files are in %s: %w, which is %s", location, errNotHere, f.Location())
	}
	return nil
}

// Path gives a name back if it is the URI of an object below the prefix.
func (f *Files) Path(name string) (string, error) {
	_, err := f.key(name)
	return name, err
}

func (f *Files) key(name string) (string, error) {
	key, ok := strings.CutPrefix(name, f.uri(""))
	if !ok || !strings.HasPrefix(key, f.prefix+"/") || path.Clean(key) != key {
		return "", fmt.Errorf("%.300q: %w %s", name, errNotHere, f.Location())
	}
	return key, nil
}

// request is the context of one request.
func (f *Files) request() (context.Context, context.CancelFunc) {
	return context.WithTimeout(f.ctx, fileTime)
}

// ReadFile implements icebergio.ReadFileIO.
func (f *Files) ReadFile(name string) ([]byte, error) {
	key, err := f.key(name)
	if err != nil {
		return nil, err
	}
	var data []byte
	_, err = f.get(key, "", func(out *s3.GetObjectOutput) (err error) {
		data, err = io.ReadAll(out.Body)
		return err
	})
	return data, err
}

// readTries bounds how often a request is made whose answer is cut in the midst; the SDK repeats only those without an answer.
const readTries = 3

// get gives an object, or the range of it that the header asks for, to read, and again when that fails.
func (f *Files) get(key, byteRange string, read func(*s3.GetObjectOutput) error) (out *s3.GetObjectOutput, err error) {
	ctx, cancel := f.request()
	defer cancel()
	in := &s3.GetObjectInput{Bucket: &f.bucket, Key: &key}
	if byteRange != "" {
		in.Range = &byteRange
	}
	for range readTries {
		if out, err = f.client.GetObject(ctx, in); err != nil {
			return nil, f.failed("read", key, err)
		}
		if err = errors.Join(read(out), out.Body.Close()); err == nil {
			return out, nil
		}
	}
	return nil, f.failed("read", key, err)
}

// failed says what was being done to an object, in the form that iceberg-go expects.
func (f *Files) failed(op, key string, err error) error {
	if hasCode(err, "NoSuchKey") {
		err = fmt.Errorf("%w: %w", iofs.ErrNotExist, err)
	}
	return &iofs.PathError{Op: op, Path: f.uri(key), Err: err}
}

// Remove implements icebergio.IO. S3 says of an object that is not there that it has removed it.
func (f *Files) Remove(name string) error {
	key, err := f.key(name)
	if err != nil {
		return err
	}
	ctx, cancel := f.request()
	defer cancel()
	if _, err := f.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &f.bucket, Key: &key}); err != nil {
		return f.failed("remove", key, err)
	}
	return nil
}

// List calls fn for every object of the table. clock is S3's, from the first answer, since modified is by it too and the host's
// may be wrong.
func (f *Files) List(
	ctx context.Context, fn func(name string, size int64, modified time.Time) error,
) (clock time.Time, err error) {
	pages := s3.NewListObjectsV2Paginator(f.client, &s3.ListObjectsV2Input{Bucket: &f.bucket, Prefix: sdk.String(f.prefix + "/")})
	for pages.HasMorePages() {
		page, err := f.nextPage(ctx, pages)
		if err != nil {
			return clock, f.failed("list", f.prefix, err)
		}
		if now, ok := middleware.GetServerTime(page.ResultMetadata); ok && clock.IsZero() {
			clock = now
		}
		if clock.IsZero() {
			return clock, f.failed("list", f.prefix, errors.New("the answer has no Date, without which nobody knows how old files are"))
		}
		for _, o := range page.Contents {
			if err := fn(f.uri(sdk.ToString(o.Key)), sdk.ToInt64(o.Size), sdk.ToTime(o.LastModified)); err != nil {
				return clock, err
			}
		}
	}
	return clock, nil
}

func (f *Files) nextPage(ctx context.Context, pages *s3.ListObjectsV2Paginator) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := context.WithTimeout(ctx, fileTime)
	defer cancel()
	return pages.NextPage(ctx)
}

// isStatus reports whether a service answered with the status. An answer to HEAD has no error code.
func isStatus(err error, status int) bool { return err != nil && statusOf(err) == status }
