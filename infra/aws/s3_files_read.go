//go:build !frontend

package aws

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	icebergio "github.com/apache/iceberg-go/io"
	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// tailBytes are read when a file is opened: its size comes with them, Parquet's footer is among them, and many files
	// have no more.
	tailBytes = 64 << 10
	// windowBytes are read at least, behind where somebody reads.
	windowBytes = 128 << 10
)

// Open implements icebergio.IO. It reads the end of the object.
func (f *Files) Open(name string) (icebergio.File, error) {
	key, err := f.key(name)
	if err != nil {
		return nil, err
	}
	r := &fileReader{files: f, key: key}
	out, err := f.get(key, fmt.Sprintf("bytes=-%d", tailBytes), func(out *s3.GetObjectOutput) (err error) {
		r.tail, err = io.ReadAll(io.LimitReader(out.Body, tailBytes+1))
		return err
	})
	switch {
	case isStatus(err, http.StatusRequestedRangeNotSatisfiable): // only an empty object has no end
		r.SectionReader = io.NewSectionReader(readerAt{r}, 0, 0)
		return r, nil
	case err != nil:
		return nil, err
	}
	size := int64(len(r.tail))
	if out.ContentRange != nil {
		_, whole, _ := strings.Cut(*out.ContentRange, "/") // bytes 10-19/20
		if size, err = strconv.ParseInt(whole, 10, 64); err != nil {
			return nil, f.failed("open", key, fmt.Errorf("Content-Range %q: %w", *out.ContentRange, err))
		}
	}
	if len(r.tail) > tailBytes {
		return nil, f.failed("open", key, errors.New("the server knows no ranges"))
	}
	r.tailAt, r.modified = size-int64(len(r.tail)), sdk.ToTime(out.LastModified)
	r.SectionReader = io.NewSectionReader(readerAt{r}, 0, size)
	return r, nil
}

// fileReader reads an object by ranges, as many at once as its callers ask for. It holds tailBytes and windowBytes.
type fileReader struct {
	*io.SectionReader
	files    *Files
	key      string
	modified time.Time
	tail     []byte
	tailAt   int64

	mu       sync.Mutex
	window   []byte // never written to once it is here
	windowAt int64
	closed   bool
}

// readerAt are the reads of a fileReader within the object.
type readerAt struct{ *fileReader }

// ReadAt implements io.ReaderAt for off within the object, up to its end.
func (r readerAt) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		at, rest := off+int64(n), p[n:]
		if at >= r.tailAt {
			n += copy(rest, r.tail[min(at-r.tailAt, int64(len(r.tail))):])
			break
		}
		rest = rest[:min(int64(len(rest)), r.tailAt-at)]
		var window []byte
		if window, err = r.from(at, len(rest)); window != nil {
			n += copy(rest, window)
		} else if err == nil {
			if err = r.fetch(rest, at); err == nil {
				n += len(rest)
			}
		}
	}
	if n < len(p) && err == nil {
		err = io.EOF
	}
	return n, err
}

// from gives what the window holds from at on, after moving it there if only so many bytes are wanted; nil if it is more.
func (r *fileReader) from(at int64, wanted int) ([]byte, error) {
	r.mu.Lock()
	window, start, closed := r.window, r.windowAt, r.closed
	r.mu.Unlock()
	switch {
	case closed:
		return nil, iofs.ErrClosed
	case at >= start && at < start+int64(len(window)):
		return window[at-start:], nil
	case wanted >= windowBytes:
		return nil, nil
	}
	window = make([]byte, min(windowBytes, r.tailAt-at))
	if err := r.fetch(window, at); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.window, r.windowAt = window, at
	return window, nil
}

// fetch fills p from the object.
func (r *fileReader) fetch(p []byte, at int64) error {
	_, err := r.files.get(r.key, fmt.Sprintf("bytes=%d-%d", at, at+int64(len(p))-1), func(out *s3.GetObjectOutput) error {
		_, err := io.ReadFull(out.Body, p)
		return err
	})
	return err
}

// Close lets go of what was read.
func (r *fileReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.window, r.closed = nil, true
	return nil
}

// Stat implements fs.File.
func (r *fileReader) Stat() (iofs.FileInfo, error) { return fileInfo{r}, nil }

type fileInfo struct{ r *fileReader }

func (i fileInfo) Name() string        { return path.Base(i.r.key) }
func (i fileInfo) Size() int64         { return i.r.Size() }
func (i fileInfo) Mode() iofs.FileMode { return 0o444 }
func (i fileInfo) ModTime() time.Time  { return i.r.modified }
func (i fileInfo) IsDir() bool         { return false }
func (i fileInfo) Sys() any            { return nil }
