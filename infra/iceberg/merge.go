package iceberg

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	icebergo "github.com/apache/iceberg-go"
)

// errForeignFile: a data file holds what this version of Penstock would lose by rewriting it.
var errForeignFile = errors.New("data file was not written by this version of Penstock")

// unreadableError is of one data file, which can't be copied as it is; others may be.
type unreadableError struct {
	name string
	err  error
}

func (e *unreadableError) Error() string { return fmt.Sprintf("read data file %s: %v", e.name, e.err) }
func (e *unreadableError) Unwrap() error { return e.err }

const (
	// sourceText is about how much text of one file a merge holds as rows.
	sourceText = 1 << 20
	// sourceBuffer is how much of a column is read at once. Read as a whole, its part of a row group would stay in memory until
	// the last of its rows is copied; in smaller pieces, an object store would be asked too often.
	sourceBuffer = 1 << 20
	// sourceRows bounds the rows of a batch that is read, and with them their attributes. In the file those that repeat take no
	// space, so it doesn't tell how much text they are (at most schemas.MaxAttributes a row).
	sourceRows = 256
	// sourceOverhead is a guess at the memory of an open file beside its pages.
	sourceOverhead = 768 << 10
)

// source is one data file that is read in its own order.
type source struct {
	name    string
	file    io.Closer
	parquet *file.Reader
	reader  pqarrow.RecordReader
	schema  *arrow.Schema

	typeAt, idAt, bodyAt int // columns

	columns            []arrow.Array // of the present batch, in the order of schema
	types, ids, bodies *array.String
	row, rows          int
	unread             int64 // rows of the file
}

// openSource opens a data file whose columns must be those of schema.
func openSource(ctx context.Context, files *FileIO, df icebergo.DataFile, schema *arrow.Schema) (_ *source, err error) {
	f, err := files.Open(df.FilePath())
	if err != nil {
		return nil, &unreadableError{df.FilePath(), err}
	}
	s := &source{name: df.FilePath(), file: f, schema: schema}
	defer func() {
		if err != nil {
			err = errors.Join(&unreadableError{df.FilePath(), err}, s.close())
		}
	}()
	defer recovered(&err)
	props := parquet.NewReaderProperties(memory.DefaultAllocator)
	props.BufferedStreamEnabled, props.BufferSize = true, sourceBuffer
	if s.parquet, err = file.NewParquetReader(f, file.WithReadProps(props)); err != nil {
		return nil, err
	}
	s.unread = s.parquet.NumRows()
	arrowFile, err := pqarrow.NewFileReader(s.parquet,
		pqarrow.ArrowReadProperties{BatchSize: batchLengthOf(s.parquet)}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	if s.reader, err = arrowFile.GetRecordReader(ctx, nil, nil); err != nil {
		return nil, err
	}
	for i, field := range schema.Fields() {
		switch field.Name {
		case "type":
			s.typeAt = i
		case "id":
			s.idAt = i
		case "data":
			s.bodyAt = i
		}
	}
	return s, sameColumns(s.reader.Schema(), schema)
}

// sameColumns makes sure that nothing is lost: a column that another writer added would be.
func sameColumns(have, want *arrow.Schema) error {
	if have.NumFields() != want.NumFields() {
		return fmt.Errorf("%w: it has %d columns, not %d", errForeignFile, have.NumFields(), want.NumFields())
	}
	for i, field := range want.Fields() {
		if got := have.Field(i); got.Name != field.Name || got.Type.ID() != field.Type.ID() {
			return fmt.Errorf("%w: column %d is %s %s, not %s %s", errForeignFile, i, got.Name, got.Type, field.Name, field.Type)
		}
	}
	return nil
}

// batchLengthOf is how many rows of a file to read at once, so that their text stays near sourceText.
func batchLengthOf(f *file.Reader) int64 {
	rows := int64(sourceRows)
	for g := range f.NumRowGroups() {
		group := f.MetaData().RowGroup(g)
		if size := group.TotalByteSize(); size > 0 {
			rows = min(rows, max(1, group.NumRows()*sourceText/size))
		}
	}
	return rows
}

// next goes to the next row; false at the end of the file.
func (s *source) next() (bool, error) {
	if s.row++; s.row < s.rows {
		return true, nil
	}
	if err := s.nextBatch(); err != nil {
		return false, &unreadableError{s.name, err}
	}
	return s.rows > 0, nil
}

// nextBatch goes to the first row of the next batch; there are no rows at the end of the file.
func (s *source) nextBatch() (err error) {
	defer recovered(&err)
	s.row, s.rows = 0, 0
	for s.rows == 0 {
		if !s.reader.Next() {
			if err := s.reader.Err(); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if s.unread != 0 { // where a page should begin, the end of the file looks like that of its rows
				return fmt.Errorf("%w, %d rows are missing", io.ErrUnexpectedEOF, s.unread)
			}
			return nil
		}
		s.rows = int(s.reader.RecordBatch().NumRows())
		s.unread -= int64(s.rows)
	}
	s.columns = s.reader.RecordBatch().Columns()
	var ok [3]bool
	s.types, ok[0] = s.columns[s.typeAt].(*array.String)
	s.ids, ok[1] = s.columns[s.idAt].(*array.String)
	s.bodies, ok[2] = s.columns[s.bodyAt].(*array.String)
	if ok != [3]bool{true, true, true} {
		return errForeignFile
	}
	return nil
}

// body is the length of the present row's body.
func (s *source) body() int { return s.bodies.ValueLen(s.row) }

// before says whether the present row comes before that of another file.
func (s *source) before(other *source) bool {
	if c := strings.Compare(s.types.Value(s.row), other.types.Value(other.row)); c != 0 {
		return c < 0
	}
	return s.ids.Value(s.row) < other.ids.Value(other.row)
}

func (s *source) close() error {
	if s.reader != nil {
		s.reader.Release()
	}
	var err error
	if s.parquet != nil {
		err = s.parquet.Close() // closes the file as well
	} else {
		err = s.file.Close()
	}
	return err
}

// merge yields the rows of several sorted files in the order of type and id.
type merge struct {
	open []*source // a heap: the first holds the next row
	all  []*source
}

var _ heap.Interface = (*merge)(nil)

func (m *merge) Len() int           { return len(m.open) }
func (m *merge) Less(i, j int) bool { return m.open[i].before(m.open[j]) }
func (m *merge) Swap(i, j int)      { m.open[i], m.open[j] = m.open[j], m.open[i] }

// Push implements heap.Interface.
func (m *merge) Push(x any) {
	if s, ok := x.(*source); ok {
		m.open = append(m.open, s)
	}
}

// Pop implements heap.Interface.
func (m *merge) Pop() any {
	last := m.open[len(m.open)-1]
	m.open = m.open[:len(m.open)-1]
	return last
}

// newMerge opens the files; it must be closed, also after an error.
func (l *Lake) newMerge(ctx context.Context, inputs []icebergo.DataFile) (*merge, error) {
	m := &merge{}
	for _, df := range inputs {
		s, err := openSource(ctx, l.files, df, l.arrow)
		if err != nil {
			return m, err
		}
		m.all = append(m.all, s)
		more, err := s.next()
		if err != nil {
			return m, err
		}
		if more {
			m.open = append(m.open, s)
		}
	}
	heap.Init(m)
	return m, nil
}

// first is the file whose present row is the next one; nil at the end.
func (m *merge) first() *source {
	if len(m.open) == 0 {
		return nil
	}
	return m.open[0]
}

// advance goes past the row of first.
func (m *merge) advance() error {
	more, err := m.open[0].next()
	switch {
	case err != nil:
		return err
	case more:
		heap.Fix(m, 0)
	default:
		heap.Pop(m)
	}
	return nil
}

func (m *merge) close() error {
	var errs []error
	for _, s := range m.all {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
