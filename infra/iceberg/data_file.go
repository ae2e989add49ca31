package iceberg

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	icebergo "github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
)

// dataFile is a data file that is being written, of rows of one day in the table's order. iceberg-go's own writer would sort
// every batch again, and copy it for that.
type dataFile struct {
	name    string
	day     icebergo.Date
	file    icebergio.FileWriter
	counter *countingWriter
	writer  *pqarrow.FileWriter
	target  int64 // bytes

	groupText, groupRows int // of the row group: bytes of its bodies, and rows
	closed               bool
}

// createDataFile begins a file of a day's rows.
func (l *Lake) createDataFile(files icebergio.WriteFileIO, t *table.Table, day icebergo.Date) (*dataFile, error) {
	if err := checkTable(t.Metadata()); err != nil { // others may have altered it since it was opened
		return nil, err
	}
	spec := t.Spec()
	partition := spec.Field(0)
	dir := partition.EscapedName() + "=" + partition.Transform.ToHumanStrType(icebergo.PrimitiveTypes.Date, day)
	name, err := url.JoinPath(t.Location(), "data", dir, fmt.Sprintf("00000-0-%s-00001.parquet", uuid.New()))
	if err != nil {
		return nil, fmt.Errorf("name a data file: %w", err)
	}
	f := &dataFile{name: name, day: day}
	if f.file, err = files.Create(f.name); err != nil {
		return nil, err
	}
	f.counter = &countingWriter{to: f.file}
	f.target = t.Properties().GetInt64(table.WriteTargetFileSizeBytesKey, targetFileSize)
	properties, err := parquetProperties(l.arrow, t.Properties())
	if err == nil {
		f.writer, err = pqarrow.NewFileWriter(l.arrow, f.counter, properties,
			pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write data file %s: %w", f.name, err), f.file.Close())
	}
	return f, nil
}

// parquetProperties are the same for every table, but for what a table's own say of the compression's level, the rows of a page
// and dictionaries.
func parquetProperties(schema *arrow.Schema, p icebergo.Properties) (*parquet.WriterProperties, error) {
	leaves, err := pqarrow.ToParquet(schema, nil, pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, err
	}
	options := []parquet.WriterProperty{
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithCompressionLevel(p.GetInt(table.ParquetCompressionLevelKey, 1)),
		parquet.WithDataPageVersion(parquet.DataPageV2),
		parquet.WithBatchSize(max(1, p.GetInt64(table.ParquetPageRowLimitKey, pageRows))),
		parquet.WithDictionaryPageSizeLimit(table.ParquetDictSizeBytesDefault),
	}
	for i := range leaves.NumColumns() {
		options = append(options, parquet.WithDictionaryCostFallbackFor(leaves.Column(i).Path(), true))
	}
	for key, value := range p {
		if column, ok := strings.CutPrefix(key, dictionaryPrefix); ok {
			options = append(options, parquet.WithDictionaryFor(column, strings.EqualFold(value, "true")))
		}
	}
	return parquet.NewWriterProperties(options...), nil
}

// write adds a batch, whose bodies have so many bytes, to the row group, or to a new one if that would be too large.
func (f *dataFile) write(batch arrow.RecordBatch, text int) error {
	if f.groupRows > 0 && (f.groupText+text > rowGroupText || f.writer.RowGroupTotalBytesWritten() >= rowGroupBytes) {
		if err := f.writer.NewBufferedRowGroupChecked(); err != nil {
			return fmt.Errorf("write data file %s: %w", f.name, err)
		}
		f.groupText, f.groupRows = 0, 0
	}
	if err := f.writer.WriteBuffered(batch); err != nil {
		return fmt.Errorf("write data file %s: %w", f.name, err)
	}
	f.groupText, f.groupRows = f.groupText+text, f.groupRows+int(batch.NumRows())
	return nil
}

// full says that the file has its target size, as far as its row groups are written.
func (f *dataFile) full() bool { return f.counter.n >= f.target }

// close makes the file durable. The file is let go of also when the Parquet writer panics.
func (f *dataFile) close() (err error) {
	if f.closed {
		return nil
	}
	f.closed = true
	defer func() { err = errors.Join(err, f.file.Close()) }()
	if err := f.writer.Close(); err != nil {
		return fmt.Errorf("write data file %s: %w", f.name, err)
	}
	return nil
}

// describe makes of the file, once it is closed, what a manifest holds.
func (f *dataFile) describe(t *table.Table) (_ icebergo.DataFile, err error) {
	defer recovered(&err)
	meta, err := f.writer.FileMetadata()
	if err != nil {
		return nil, fmt.Errorf("describe data file %s: %w", f.name, err)
	}
	properties, err := boundedColumns(meta, t.Properties())
	if err != nil {
		return nil, fmt.Errorf("describe data file %s: %w", f.name, err)
	}
	df, err := table.DataFileFromMetadata(table.DataFileArgs{
		Schema: t.Schema(), Spec: t.Spec(), Format: icebergo.ParquetFile, Metadata: meta, FilePath: f.name,
		FileSize: f.counter.n, Content: icebergo.EntryContentData, PartitionValues: map[int]any{dayPartitionID: f.day},
		Properties: properties, FormatVersion: formatVersion,
	})
	if err != nil {
		return nil, fmt.Errorf("describe data file %s: %w", f.name, err)
	}
	return df, nil
}

// boundedColumns are the table's properties, but that a column has no bounds in the manifest if one of the file's row groups
// does not tell its largest value, which Parquet leaves out when it is longer than parquet.DefaultMaxStatsSize. iceberg-go
// would make bounds of the other row groups' alone, and engines skip the file in search of what lies beyond. (Without its
// smallest value, a row group counts as one that begins with the empty text, which does no harm.)
func boundedColumns(meta *metadata.FileMetaData, p icebergo.Properties) (icebergo.Properties, error) {
	p = maps.Clone(p)
	for g := range meta.NumRowGroups() {
		group := meta.RowGroup(g)
		for c := range group.NumColumns() {
			chunk, err := group.ColumnChunk(c)
			if err != nil {
				return nil, err
			}
			stats, err := chunk.Statistics()
			if err != nil {
				return nil, err
			}
			text, ok := stats.(*metadata.ByteArrayStatistics)
			name := meta.Schema.Column(c).Path()
			if !ok || strings.Contains(name, ".") || text.NullCount() == chunk.NumValues() { // a part of a map has none anyway
				continue
			}
			if len(text.Max()) == 0 {
				p[table.MetricsModeColumnConfPrefix+"."+name] = "counts"
			}
		}
	}
	return p, nil
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
