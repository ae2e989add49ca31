//go:build !frontend

package aws

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net/http"

	icebergio "github.com/apache/iceberg-go/io"
	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// partBytes are the size of a part; a smaller file is one request. S3 wants at least 5 MiB in all parts but the last,
	// and 10,000 parts at most (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html): files end at 78 GiB.
	partBytes = 8 << 20
	// firstBuffer is what a writer begins with.
	firstBuffer = 64 << 10
	// writerMark is metadata of an object that tells which writer has made it.
	writerMark = "penstock-writer"
)

// Create implements icebergio.WriteFileIO. That there is no such file yet is seen when it is closed.
func (f *Files) Create(name string) (icebergio.FileWriter, error) {
	key, err := f.key(name)
	if err != nil {
		return nil, err
	}
	return &fileWriter{files: f, key: key, mark: rand.Text()}, nil
}

// WriteFile implements icebergio.WriteFileIO, in one request. It keeps nothing of p.
func (f *Files) WriteFile(name string, p []byte) error {
	key, err := f.key(name)
	if err != nil {
		return err
	}
	return f.put(key, rand.Text(), bytes.Clone(p))
}

// put stores an object. The transport may go on reading data for a while after an error.
func (f *Files) put(key, mark string, data []byte) error {
	ctx, cancel := f.request()
	defer cancel()
	_, err := f.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &f.bucket, Key: &key, Body: bytes.NewReader(data), ContentLength: sdk.Int64(int64(len(data))),
		IfNoneMatch: sdk.String("*"), Metadata: map[string]string{writerMark: mark},
	})
	return f.stored(key, mark, err)
}

// stored tells from the object itself whether a write that ended with err has made it. A request that was repeated after it had
// landed is told that there is such an object already, or that there is no such upload any more.
func (f *Files) stored(key, mark string, err error) error {
	if err == nil {
		return nil
	}
	ctx, cancel := f.request()
	defer cancel()
	if out, headErr := f.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &f.bucket, Key: &key}); headErr == nil &&
		out.Metadata[writerMark] == mark {
		return nil
	}
	if isStatus(err, http.StatusPreconditionFailed) {
		err = fmt.Errorf("%w: %w", iofs.ErrExist, err)
	}
	return f.failed("create", key, err)
}

// fileWriter writes an object, in parts if it is large. It holds one part, and a second while that is on its way. An error
// stays: Close repeats that of a Write, since some writers above it look at Close alone.
type fileWriter struct {
	files     *Files
	key, mark string
	buf       []byte
	upload    *string // nil while one request may do
	parts     []types.CompletedPart
	err       error
	closed    bool
}

func (w *fileWriter) Write(p []byte) (int, error) {
	if w.closed && w.err == nil {
		return 0, w.files.failed("write", w.key, iofs.ErrClosed)
	}
	written := 0
	for w.err == nil && written < len(p) {
		if len(w.buf) == partBytes {
			w.err = w.send()
			continue
		}
		if len(w.buf) == cap(w.buf) {
			w.buf = append(make([]byte, 0, min(max(2*cap(w.buf), firstBuffer), partBytes)), w.buf...)
		}
		n := copy(w.buf[len(w.buf):cap(w.buf)], p[written:])
		w.buf = w.buf[:len(w.buf)+n]
		written += n
	}
	return written, w.err
}

// ReadFrom implements io.ReaderFrom.
func (w *fileWriter) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, r)
}

// send stores what is buffered as the next part.
func (w *fileWriter) send() error {
	ctx, cancel := w.files.request()
	defer cancel()
	if w.upload == nil {
		out, err := w.files.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
			Bucket: &w.files.bucket, Key: &w.key, Metadata: map[string]string{writerMark: w.mark},
			ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
		})
		if err != nil {
			return w.files.failed("create", w.key, err)
		}
		w.upload = out.UploadId
	}
	number := sdk.Int32(int32(len(w.parts) + 1)) //nolint:gosec // S3 refuses the 10,001st
	out, err := w.files.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &w.files.bucket, Key: &w.key, UploadId: w.upload, PartNumber: number,
		Body: bytes.NewReader(w.buf), ContentLength: sdk.Int64(int64(len(w.buf))), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
	})
	if err != nil {
		return w.files.failed("write", w.key, err)
	}
	w.parts = append(w.parts, types.CompletedPart{ETag: out.ETag, PartNumber: number, ChecksumCRC32: out.ChecksumCRC32})
	w.buf = nil // the transport may not be done with it
	return nil
}

// Close makes the file durable. Closing again repeats the outcome.
func (w *fileWriter) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	switch {
	case w.err != nil:
	case w.upload == nil:
		w.err = w.files.put(w.key, w.mark, w.buf)
	default:
		if w.err = w.send(); w.err == nil {
			w.err = w.complete()
		}
	}
	w.buf = nil
	if w.err != nil && w.upload != nil {
		w.err = errors.Join(w.err, w.abort())
	}
	return w.err
}

func (w *fileWriter) complete() error {
	ctx, cancel := w.files.request()
	defer cancel()
	_, err := w.files.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &w.files.bucket, Key: &w.key, UploadId: w.upload, IfNoneMatch: sdk.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: w.parts},
	})
	return w.files.stored(w.key, w.mark, err)
}

// abort has S3 forget the parts, which cost money. It has time of its own: the end of the files' context may be what failed.
func (w *fileWriter) abort() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.files.ctx), fileTime/6)
	defer cancel()
	_, err := w.files.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &w.files.bucket, Key: &w.key, UploadId: w.upload,
	})
	if err != nil && !hasCode(err, "NoSuchUpload") {
		return w.files.failed("abort", w.key, err)
	}
	return nil
}
