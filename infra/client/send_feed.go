package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"penstock/schemas"
)

// Bounds of a batch request: far below the server's, so that a retry is cheap and no file waits long for its turn.
const (
	maxBatchLines = 1000
	maxBatchBytes = 4 << 20
)

// Origin is where an event came from, beside the path.
type Origin struct {
	// Position is the 1-based line of NDJSON or the 0-based index of an array's element; -1 for a whole file.
	Position int
	// Size is the bytes of the event as they are sent.
	Size int
}

// Whole is the Position of an event that is a whole file.
const Whole = -1

// unit is one submission and where its events came from.
type unit struct {
	Submission
	path     string
	origins  []Origin
	consumed int64 // bytes of the input, as stored, since the unit before
	refused  error // it can't be sent
}

// feed cuts inputs into units. It takes a slot before it holds the bytes of a unit, and whoever has the unit gives the slot
// back when the bytes are no longer needed, so memory is bounded by the number of slots.
type feed struct {
	ctx        context.Context // of the one pass over the inputs
	slots      chan struct{}
	emit       func(unit) error
	attributes Attributes
	split      bool

	gathering *unit // lines that wait for company; holds a slot
	path      string
	next      int          // position of the first event that was not handed on
	stored    func() int64 // bytes of the present input that were read, as stored
	reported  int64        // of these, the ones that units have consumed
}

// run reads all paths. An error is about the whole run; one about a file or line goes out as a refused unit.
func (f *feed) run(paths []string, stdin io.Reader) error {
	for _, path := range paths {
		var err error
		if path == Stdin {
			err = f.stdin(stdin)
		} else {
			err = walk(path, f.file, func() {})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *feed) begin(path string, stored func() int64) {
	f.path, f.next, f.stored, f.reported = path, Whole, stored, 0
}

func (f *feed) stdin(in io.Reader) error {
	p := newPump(f.ctx, in)
	f.begin("stdin", func() int64 { return p.total })
	return f.lines(p)
}

func (f *feed) file(path string, info fs.FileInfo) error {
	if err := context.Cause(f.ctx); err != nil {
		f.begin(path, nil)
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		f.begin(path, func() int64 { return info.Size() })
		return f.refuse(Whole, err)
	}
	stored := &counter{Reader: file}
	f.begin(path, func() int64 { return stored.total })
	err = f.opened(file, stored, info.Size())
	if closeErr := file.Close(); closeErr != nil && err == nil {
		err = f.refuse(Whole, closeErr)
	}
	return err
}

func (f *feed) opened(file *os.File, stored *counter, size int64) error {
	kind, gzipped := formOf(f.path)
	split := false
	if kind == formDocument && f.split {
		var err error
		if split, err = splittable(file, gzipped); err != nil {
			return f.refuse(Whole, err)
		}
	}
	if kind == formDocument && !split {
		return f.document(stored, size, gzipped)
	}
	in := io.Reader(stored)
	if gzipped {
		unzipped, err := gzip.NewReader(stored)
		if err != nil {
			return f.refuse(Whole, fmt.Errorf("decompress: %w", err))
		}
		in = unzipped
	}
	if split {
		return f.elements(in)
	}
	return f.lines(in)
}

// splittable looks into the file for the beginning of an array, and goes back to the file's.
func splittable(file *os.File, gzipped bool) (bool, error) {
	in := io.Reader(file)
	if gzipped {
		unzipped, err := gzip.NewReader(file)
		if err != nil {
			return false, fmt.Errorf("decompress: %w", err)
		}
		in = unzipped
	}
	isArray, err := startsArray(in)
	if err != nil {
		return false, err
	}
	_, err = file.Seek(0, io.SeekStart)
	return isArray, err
}

// document hands on a whole file as one event.
func (f *feed) document(in io.Reader, size int64, gzipped bool) error {
	if size > schemas.MaxBody {
		f.stored = func() int64 { return size }
		return f.refuse(Whole, &tooLarge{size: size})
	}
	if err := f.take(); err != nil {
		return err
	}
	// One byte more than size, so that a regular file is read without growing; it may have grown since it was measured.
	body := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	_, err := body.ReadFrom(io.LimitReader(in, schemas.MaxBody+1))
	if err == nil && body.Len() > schemas.MaxBody {
		err = &tooLarge{}
	}
	if err != nil {
		f.give()
		return f.refuse(Whole, err)
	}
	return f.hand(unit{
		Submission: Submission{Body: body.Bytes(), Gzipped: gzipped},
		origins:    []Origin{{Position: Whole, Size: body.Len()}},
	})
}

// lines hands on NDJSON.
func (f *feed) lines(in io.Reader) error {
	reader := newLineReader(in)
	for {
		line, number, err := reader.next()
		var large *tooLarge
		switch {
		case err == nil:
			err = f.add(number, line)
		case errors.Is(err, errPause):
			err = f.flush()
		case errors.As(err, &large):
			err = f.refuse(number, err)
		case errors.Is(err, io.EOF):
			return f.flush()
		case f.ctx.Err() != nil:
			if f.gathering == nil {
				f.next = number + 1
			}
			return context.Cause(f.ctx)
		default:
			return f.refuse(number+1, err) // the rest can't be read
		}
		if err != nil {
			return err
		}
	}
}

// elements hands on the elements of an array.
func (f *feed) elements(in io.Reader) error {
	reader, err := newElementReader(in)
	if err != nil {
		return f.refuse(Whole, err)
	}
	for {
		element, index, err := reader.next()
		var large *tooLarge
		switch {
		case err == nil:
			err = f.add(index, element)
		case errors.Is(err, io.EOF):
			return f.flush()
		case errors.As(err, &large) && large.size > 0:
			err = f.refuse(index, err)
		default:
			return f.refuse(index, err) // the rest can't be told apart
		}
		if err != nil {
			return err
		}
	}
}

// fitsLine reports whether a line of a batch request holds the bytes exactly: they hold no line break, don't end with what
// would become one, and are not too many.
func fitsLine(event []byte) bool {
	return len(event) < maxBatchBytes && bytes.IndexByte(event, '\n') < 0 && event[len(event)-1] != '\r'
}

// add hands on one event: in company when it fits a line, else alone.
func (f *feed) add(position int, event []byte) error {
	if !fitsLine(event) {
		if err := f.flush(); err != nil {
			return err
		}
		f.next = position
		if err := f.take(); err != nil {
			return err
		}
		return f.hand(unit{
			Submission: Submission{Body: bytes.Clone(event)},
			origins:    []Origin{{Position: position, Size: len(event)}},
		})
	}
	if g := f.gathering; g != nil && (g.Lines == maxBatchLines || len(g.Body)+len(event)+1 > maxBatchBytes) {
		if err := f.flush(); err != nil {
			return err
		}
	}
	if f.gathering == nil {
		f.next = position
		if err := f.take(); err != nil {
			return err
		}
		f.gathering = &unit{}
	}
	g := f.gathering
	g.Body = append(append(g.Body, event...), '\n')
	g.Lines++
	g.origins = append(g.origins, Origin{Position: position, Size: len(event)})
	return nil
}

// flush hands on what has been gathered.
func (f *feed) flush() error {
	if f.gathering == nil {
		return nil
	}
	u := *f.gathering
	f.gathering = nil
	f.next = u.origins[0].Position
	return f.hand(u)
}

// refuse reports an event, or what can't be read of a file, that is not sent.
func (f *feed) refuse(position int, err error) error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.pass(unit{origins: []Origin{{Position: position}}, refused: err})
}

// hand passes a unit on together with its slot.
func (f *feed) hand(u unit) error {
	u.Attributes = f.attributes
	if err := f.pass(u); err != nil {
		f.give()
		return err
	}
	return nil
}

func (f *feed) pass(u unit) error {
	u.path = f.path
	if f.stored != nil {
		u.consumed = f.stored() - f.reported
		f.reported += u.consumed
	}
	return f.emit(u)
}

func (f *feed) take() error {
	if f.ctx.Err() != nil {
		return context.Cause(f.ctx)
	}
	select {
	case f.slots <- struct{}{}:
		return nil
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
}

func (f *feed) give() { <-f.slots }
