package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"penstock/schemas"
)

// errPause is what a reader returns when nothing came for a moment, though more may: time to send what there is.
var errPause = errors.New("nothing to read for now")

// pauseAfter is how long standard input may be silent before the lines that have come are sent.
const pauseAfter = 100 * time.Millisecond

// tooLarge: a document or line of more than schemas.MaxBody bytes, which is not even sent.
type tooLarge struct{ size int64 }

func (e *tooLarge) Error() string {
	if e.size > 0 {
		return fmt.Sprintf("has %d bytes, and one document may have at most %d (10 MiB): not sent", e.size, schemas.MaxBody)
	}
	return fmt.Sprintf("has more than the %d bytes (10 MiB) that one document may have: not sent", schemas.MaxBody)
}

// lineReader cuts NDJSON into lines with memory for one line.
type lineReader struct {
	in     *bufio.Reader
	line   []byte
	number int
	over   bool // the line is too large; what comes of it is dropped
}

func newLineReader(in io.Reader) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, 64<<10)}
}

// next returns the next line that is not blank, without its end (LF or CR LF), and its 1-based number. The line is valid
// until the following call. Errors are *tooLarge for one line, after which reading goes on; errPause; and the end.
func (l *lineReader) next() (line []byte, number int, err error) {
	for {
		part, err := l.in.ReadSlice('\n')
		if l.over = l.over || len(l.line)+len(bytes.TrimRight(part, "\r\n")) > schemas.MaxBody; l.over {
			l.line = l.line[:0]
		} else {
			l.line = append(l.line, part...)
		}
		ended := err == nil || (errors.Is(err, io.EOF) && (len(l.line) > 0 || l.over))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case !ended:
			return nil, l.number, err
		}
		l.number++
		if l.over {
			l.over = false
			return nil, l.number, &tooLarge{}
		}
		line = bytes.TrimSuffix(bytes.TrimSuffix(l.line, []byte{'\n'}), []byte{'\r'})
		l.line = l.line[:0]
		if len(bytes.TrimLeft(line, " \t\r")) > 0 {
			return line, l.number, nil
		}
	}
}

// pump reads from a source that may block for ever, so that its reader can pause and stop. Reading standard input can't
// be interrupted: if it blocks when ctx ends, the goroutine stays until the input ends or is closed.
type pump struct {
	ctx    context.Context // of the one pass over the input
	chunks chan []byte
	end    error // why chunks was closed
	rest   []byte
	total  int64
}

func newPump(ctx context.Context, in io.Reader) *pump {
	p := &pump{ctx: ctx, chunks: make(chan []byte)}
	go func() {
		defer close(p.chunks)
		for {
			chunk := make([]byte, 64<<10)
			n, err := in.Read(chunk)
			if n > 0 {
				select {
				case p.chunks <- chunk[:n]:
				case <-ctx.Done():
					p.end = context.Cause(ctx)
					return
				}
			}
			if err != nil {
				p.end = err
				return
			}
		}
	}()
	return p
}

// Read implements io.Reader; it returns errPause when nothing came for a moment.
func (p *pump) Read(to []byte) (int, error) {
	if len(p.rest) == 0 {
		timer := time.NewTimer(pauseAfter)
		defer timer.Stop()
		select {
		case chunk, ok := <-p.chunks:
			if !ok {
				return 0, p.end
			}
			p.rest = chunk
		case <-timer.C:
			return 0, errPause
		case <-p.ctx.Done():
			return 0, context.Cause(p.ctx)
		}
	}
	n := copy(to, p.rest)
	p.rest = p.rest[n:]
	p.total += int64(n)
	return n, nil
}

// counter counts what was read of a file, as stored.
type counter struct {
	io.Reader
	total int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.total += int64(n)
	return n, err
}
