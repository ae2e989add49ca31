package iceberg

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	icebergo "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// rewriting makes new data files of the rows of others, which all lie in one partition. It runs in one goroutine, and
// holds about a batch of each input and a row group of each of at most two outputs: small rows and large bodies.
type rewriting struct {
	lake  *Lake
	table *table.Table
	files *madeFiles
	day   icebergo.Date
	// keep says of an id whether its row stays; nil keeps all.
	keep func(id string) bool
	// pace is called after every batch that was written, outside of any lock.
	pace func(ctx context.Context) error

	small, large *output
	dropped      int64
}

// rewrite makes durable data files of the inputs' rows, to which nothing refers yet. After an error none is left, unless
// the removal failed too, which is logged; those the orphan sweep finds.
func (l *Lake) rewrite(
	ctx context.Context, t *table.Table, inputs []icebergo.DataFile, keep func(id string) bool, pace func(context.Context) error,
) (files []icebergo.DataFile, dropped int64, err error) {
	d, ok := inputs[0].Partition()[dayPartitionID].(icebergo.Date)
	if !ok {
		return nil, 0, fmt.Errorf("rewrite %s: its partition is not a day", inputs[0].FilePath())
	}
	made := &madeFiles{FileIO: l.files}
	defer func() {
		if err != nil {
			made.remove(l.log)
		}
	}()
	w := &rewriting{lake: l, table: t, files: made, day: d, keep: keep, pace: pace}
	if err := w.run(ctx, inputs); err != nil {
		return nil, 0, err
	}
	for _, o := range w.outputs() {
		df, err := o.file.describe(t)
		if err != nil {
			return nil, 0, err
		}
		files = append(files, df)
	}
	return files, w.dropped, nil
}

// run copies every row, and makes the outputs durable.
func (w *rewriting) run(ctx context.Context, inputs []icebergo.DataFile) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("rewrite %d data files from %s on: %w", len(inputs), inputs[0].FilePath(), err)
		}
	}()
	defer recovered(&err)
	defer func() { err = errors.Join(err, w.close(&w.small)) }()
	defer func() { err = errors.Join(err, w.close(&w.large)) }()
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
	for _, o := range w.outputs() {
		if err := o.flush(); err != nil {
			return err
		}
	}
	return nil
}

// add copies the present row of a file to the output that it belongs to.
func (w *rewriting) add(ctx context.Context, s *source) error {
	o := &w.small
	if s.body() >= largeBody {
		o = &w.large
	}
	if *o == nil {
		file, err := w.lake.createDataFile(w.files, w.table, w.day)
		if err != nil {
			return err
		}
		if *o, err = newOutput(w.lake.arrow, file); err != nil {
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

func (w *rewriting) outputs() []*output {
	return slices.DeleteFunc([]*output{w.small, w.large}, func(o *output) bool { return o == nil })
}

// close makes durable what was flushed to an output, if there is one.
func (w *rewriting) close(o **output) error {
	if *o == nil {
		return nil
	}
	(*o).record.Release()
	return (*o).file.close()
}

// copiedText bounds the text of a batch of copied rows, above which a batch holds a single row. Its buffers grow by doubling
// and are garbage once it is written, so it is short.
const copiedText = 2 << 20

// output is a data file to which rows are copied.
type output struct {
	file   *dataFile
	record *array.RecordBuilder
	copies []copyValue

	text, rows, bodies int // of the batch: bytes of all its text, its rows, and bytes of its bodies
}

func newOutput(schema *arrow.Schema, file *dataFile) (*output, error) {
	o := &output{file: file, record: array.NewRecordBuilder(memory.DefaultAllocator, schema)}
	for i, field := range schema.Fields() {
		c, err := copierOf(field.Name, o.record.Field(i))
		if err != nil {
			return nil, errors.Join(err, file.close())
		}
		o.copies = append(o.copies, c)
	}
	return o, nil
}

// add copies the present row of a file, and tells whether it wrote a batch before.
func (o *output) add(s *source) (wrote bool, err error) {
	body := s.body()
	if o.rows > 0 && (o.text+body > copiedText || o.rows == batchRows) {
		if err := o.flush(); err != nil {
			return false, err
		}
		wrote = true
	}
	for i, c := range o.copies {
		from := s.columns[i]
		if from.IsNull(s.row) {
			o.record.Field(i).AppendNull()
			continue
		}
		text, ok := c(from, s.row)
		if !ok {
			return wrote, &unreadableError{s.name, fmt.Errorf("column %d: %w", i, errForeignFile)}
		}
		o.text += text
	}
	o.bodies += body
	o.rows++
	return wrote, nil
}

// flush writes the batch.
func (o *output) flush() error {
	if o.rows == 0 {
		return nil
	}
	batch := o.record.NewRecordBatch()
	defer batch.Release()
	bodies := o.bodies
	o.text, o.bodies, o.rows = 0, 0, 0
	return o.file.write(batch, bodies)
}

// copyValue appends a value, not NULL, of a column that was read to the one that is being built, and tells how many bytes of
// text it has; not ok if it is of another type.
type copyValue func(from arrow.Array, row int) (text int, ok bool)

func copierOf(name string, to array.Builder) (copyValue, error) {
	switch to := to.(type) {
	case *array.StringBuilder:
		return func(from arrow.Array, row int) (int, bool) { return copyText(to, from, row) }, nil
	case *array.TimestampBuilder:
		return func(from arrow.Array, row int) (int, bool) {
			values, ok := from.(*array.Timestamp)
			if ok {
				to.Append(values.Value(row))
			}
			return 0, ok
		}, nil
	case *array.Int64Builder:
		return func(from arrow.Array, row int) (int, bool) {
			values, ok := from.(*array.Int64)
			if ok {
				to.Append(values.Value(row))
			}
			return 0, ok
		}, nil
	case *array.MapBuilder:
		return func(from arrow.Array, row int) (int, bool) { return copyMap(to, from, row) }, nil
	}
	return nil, fmt.Errorf("no way to copy column %q of type %s", name, to.Type())
}

func copyText(to *array.StringBuilder, from arrow.Array, row int) (text int, ok bool) {
	values, ok := from.(*array.String)
	if !ok {
		return 0, false
	}
	value := values.Value(row)
	to.Append(value)
	return len(value), true
}

func copyMap(to *array.MapBuilder, from arrow.Array, row int) (text int, ok bool) {
	values, ok := from.(*array.Map)
	if !ok {
		return 0, false
	}
	keys, okKeys := to.KeyBuilder().(*array.StringBuilder)
	items, okItems := to.ItemBuilder().(*array.StringBuilder)
	if !okKeys || !okItems {
		return 0, false
	}
	to.Append(true)
	start, end := values.ValueOffsets(row)
	for i := int(start); i < int(end); i++ {
		key, okKey := copyText(keys, values.Keys(), i)
		item, okItem := copyText(items, values.Items(), i)
		if !okKey || !okItem {
			return 0, false
		}
		text += key + item
	}
	return text, true
}
