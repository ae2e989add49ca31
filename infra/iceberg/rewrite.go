package iceberg

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	icebergo "github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
)

// rewriting makes new data files of the rows of others, which all lie in one partition. It runs in one goroutine, and
// holds about a batch of each input and a row group of each of at most two outputs: small rows and large bodies.
type rewriting struct {
	lake  *Lake
	table *table.Table
	dir   string // of the inputs
	day   icebergo.Date
	// keep says of an id whether its row stays; nil keeps all.
	keep func(id string) bool
	// pace is called after every batch that was written, outside of any lock.
	pace func(ctx context.Context) error

	small, large *output
	dropped      int64
}

// rewrite makes durable data files of the inputs' rows, to which nothing refers yet. After an error none is left, unless
// the removal failed too; those the orphan sweep finds.
func (l *Lake) rewrite(
	ctx context.Context, t *table.Table, inputs []icebergo.DataFile, keep func(id string) bool, pace func(context.Context) error,
) (files []icebergo.DataFile, dropped int64, err error) {
	d, ok := inputs[0].Partition()[dayPartitionID].(icebergo.Date)
	if !ok {
		return nil, 0, fmt.Errorf("rewrite %s: its partition is not a day", inputs[0].FilePath())
	}
	w := &rewriting{lake: l, table: t, dir: dirOf(inputs[0].FilePath()), day: d, keep: keep, pace: pace}
	if err := errors.Join(w.run(ctx, inputs), w.close()); err != nil {
		return nil, 0, errors.Join(err, w.remove())
	}
	for _, o := range []*output{w.small, w.large} {
		if o == nil {
			continue
		}
		df, err := o.dataFile(t, d)
		if err != nil {
			return nil, 0, errors.Join(err, w.remove())
		}
		files = append(files, df)
	}
	return files, w.dropped, nil
}

// run copies every row. A file that Arrow panics over must not end the process (invariant 8).
func (w *rewriting) run(ctx context.Context, inputs []icebergo.DataFile) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("rewrite %d data files from %s on: %v", len(inputs), inputs[0].FilePath(), p)
		}
	}()
	m, err := w.lake.newMerge(ctx, inputs)
	defer func() { err = errors.Join(err, m.close()) }()
	if err != nil {
		return err
	}
	for s := m.first(); s != nil; s = m.first() {
		if w.keep != nil && !w.keep(s.ids.Value(s.row)) {
			w.dropped++
		} else if err := w.add(ctx, s); err != nil {
			return err
		}
		if err := m.advance(); err != nil {
			return err
		}
	}
	return nil
}

// add copies the present row of a file to the output that it belongs to.
func (w *rewriting) add(ctx context.Context, s *source) (err error) {
	o := &w.small
	if s.body() >= largeBody {
		o = &w.large
	}
	if *o == nil {
		name := fmt.Sprintf("%s/00000-0-%s-00001.parquet", w.dir, uuid.New())
		if *o, err = newOutput(w.lake.files, name, w.lake.arrow, w.table.Properties()); err != nil {
			return err
		}
	}
	wrote, err := (*o).add(s)
	if err != nil || !wrote {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.pace(ctx)
}

func (w *rewriting) close() error {
	var errs []error
	for _, o := range []*output{w.small, w.large} {
		if o != nil {
			errs = append(errs, o.close())
		}
	}
	return errors.Join(errs...)
}

// remove takes back files that nothing has ever referred to.
func (w *rewriting) remove() error {
	var errs []error
	for _, o := range []*output{w.small, w.large} {
		if o == nil {
			continue
		}
		if err := w.lake.files.Remove(o.name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// copiedText bounds the text of a batch of copied rows, above which a batch holds a single row. Its buffers grow by doubling
// and are garbage once it is written, so it is short.
const copiedText = 1 << 20

// output is a data file that is being written.
type output struct {
	name    string
	file    icebergio.FileWriter
	counter *countingWriter
	writer  *pqarrow.FileWriter
	record  *array.RecordBuilder
	copies  []copyValue

	batchText, groupText int // bytes of bodies in the batch, and in the row group with the batch
	batchRows, groupRows int
	closed               bool
}

func newOutput(files *FileIO, name string, schema *arrow.Schema, p icebergo.Properties) (*output, error) {
	f, err := files.Create(name)
	if err != nil {
		return nil, err
	}
	o := &output{name: name, file: f, counter: &countingWriter{to: f}}
	o.record = array.NewRecordBuilder(memory.DefaultAllocator, schema)
	o.writer, err = pqarrow.NewFileWriter(schema, o.counter, parquetProperties(schema, p),
		pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	for i, field := range schema.Fields() {
		if err == nil {
			var c copyValue
			c, err = copierOf(field.Name, o.record.Field(i))
			o.copies = append(o.copies, c)
		}
	}
	if err != nil {
		o.record.Release()
		o.closed = true
		return o, errors.Join(fmt.Errorf("write data file %s: %w", name, err), f.Close())
	}
	return o, nil
}

// parquetProperties are those that iceberg-go makes of the table's for the files of an append.
func parquetProperties(schema *arrow.Schema, p icebergo.Properties) *parquet.WriterProperties {
	options := []parquet.WriterProperty{
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithCompressionLevel(p.GetInt(table.ParquetCompressionLevelKey, 1)),
		parquet.WithDataPageVersion(parquet.DataPageV2),
		parquet.WithBatchSize(int64(p.GetInt(table.ParquetPageRowLimitKey, pageRows))),
		parquet.WithDictionaryPageSizeLimit(table.ParquetDictSizeBytesDefault),
	}
	for _, field := range schema.Fields() {
		options = append(options, parquet.WithDictionaryCostFallbackFor(field.Name, true))
	}
	for key, value := range p {
		if column, ok := strings.CutPrefix(key, dictionaryPrefix); ok {
			options = append(options, parquet.WithDictionaryFor(column, strings.EqualFold(value, "true")))
		}
	}
	return parquet.NewWriterProperties(options...)
}

// add copies the present row of a file, and tells whether it wrote a batch before.
func (o *output) add(s *source) (wrote bool, err error) {
	size := s.body()
	full := o.groupRows > 0 && (o.groupText+size > rowGroupText || o.writer.RowGroupTotalBytesWritten() >= rowGroupBytes)
	if full || o.batchRows > 0 && (o.batchText+size > copiedText || o.batchRows == batchRows) {
		if err := o.flush(); err != nil {
			return false, err
		}
		wrote = true
	}
	if full {
		if err := o.writer.NewBufferedRowGroupChecked(); err != nil {
			return wrote, fmt.Errorf("write data file %s: %w", o.name, err)
		}
		o.groupText, o.groupRows = 0, 0
	}
	for i, c := range o.copies {
		if from := s.columns[i]; from.IsNull(s.row) {
			o.record.Field(i).AppendNull()
		} else if !c(from, s.row) {
			return wrote, fmt.Errorf("read data file %s: column %d: %w", s.name, i, errForeignFile)
		}
	}
	o.batchText, o.groupText = o.batchText+size, o.groupText+size
	o.batchRows++
	o.groupRows++
	return wrote, nil
}

// flush gives the batch to the Parquet writer.
func (o *output) flush() error {
	if o.batchRows == 0 {
		return nil
	}
	batch := o.record.NewRecordBatch()
	defer batch.Release()
	o.batchText, o.batchRows = 0, 0
	if err := o.writer.WriteBuffered(batch); err != nil {
		return fmt.Errorf("write data file %s: %w", o.name, err)
	}
	return nil
}

// close makes the file durable.
func (o *output) close() error {
	if o.closed {
		return nil
	}
	o.closed = true
	defer o.record.Release()
	err := o.flush()
	if closeErr := o.writer.Close(); closeErr != nil && err == nil {
		err = fmt.Errorf("write data file %s: %w", o.name, closeErr)
	}
	return errors.Join(err, o.file.Close())
}

// dataFile describes the file, once it is closed, for a manifest.
func (o *output) dataFile(t *table.Table, day icebergo.Date) (icebergo.DataFile, error) {
	meta, err := o.writer.FileMetadata()
	if err != nil {
		return nil, fmt.Errorf("describe data file %s: %w", o.name, err)
	}
	df, err := table.DataFileFromMetadata(table.DataFileArgs{
		Schema: t.Schema(), Spec: t.Spec(), Format: icebergo.ParquetFile, Metadata: meta, FilePath: o.name,
		FileSize: o.counter.n, Content: icebergo.EntryContentData, PartitionValues: map[int]any{dayPartitionID: day},
		Properties: t.Properties(), FormatVersion: formatVersion,
	})
	if err != nil {
		return nil, fmt.Errorf("describe data file %s: %w", o.name, err)
	}
	return df, nil
}

// countingWriter also hides Close from the Parquet writer, which would call it before the last bytes are known to be good.
type countingWriter struct {
	to io.Writer
	n  int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.n += int64(n)
	return n, err
}

// copyValue appends a value, not NULL, of a column that was read to the one that is being built; false if it is of another
// type.
type copyValue func(from arrow.Array, row int) bool

func copierOf(name string, to array.Builder) (copyValue, error) {
	switch to := to.(type) {
	case *array.StringBuilder:
		return func(from arrow.Array, row int) bool { return copyText(to, from, row) }, nil
	case *array.TimestampBuilder:
		return func(from arrow.Array, row int) bool {
			values, ok := from.(*array.Timestamp)
			if ok {
				to.Append(values.Value(row))
			}
			return ok
		}, nil
	case *array.Int64Builder:
		return func(from arrow.Array, row int) bool {
			values, ok := from.(*array.Int64)
			if ok {
				to.Append(values.Value(row))
			}
			return ok
		}, nil
	case *array.MapBuilder:
		return func(from arrow.Array, row int) bool { return copyMap(to, from, row) }, nil
	}
	return nil, fmt.Errorf("no way to copy column %q of type %s", name, to.Type())
}

func copyText(to *array.StringBuilder, from arrow.Array, row int) bool {
	values, ok := from.(*array.String)
	if ok {
		to.Append(values.Value(row))
	}
	return ok
}

func copyMap(to *array.MapBuilder, from arrow.Array, row int) bool {
	values, ok := from.(*array.Map)
	if !ok {
		return false
	}
	keys, okKeys := to.KeyBuilder().(*array.StringBuilder)
	items, okItems := to.ItemBuilder().(*array.StringBuilder)
	if !okKeys || !okItems {
		return false
	}
	to.Append(true)
	start, end := values.ValueOffsets(row)
	for i := int(start); i < int(end); i++ {
		if !copyText(keys, values.Keys(), i) || !copyText(items, values.Items(), i) {
			return false
		}
	}
	return true
}
