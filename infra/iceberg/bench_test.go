package iceberg

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
)

// BenchmarkTinyCommit is a commit of one row on the real file system. Its cost must not grow with the number of commits
// before it: compare -benchtime 100x and 1000x.
func BenchmarkTinyCommit(b *testing.B) {
	l := openLake(b, vfs.Default, b.TempDir(), &memoryPointer{})
	n := 0
	for b.Loop() {
		if err := appendSpan(b.Context(), l, "s", n, n+1); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

const benchRows = 100_000

// benchBatch is benchRows rows with bodies of about 200 bytes.
func benchBatch() []consumer.Row {
	rows := make([]consumer.Row, benchRows)
	for i := range rows {
		rows[i] = row("s", i+1)
		rows[i].Body = fmt.Appendf(nil, `{"user":%d,"action":"click","page":"/products/%d","session":"%x",`+
			`"tags":["a","b"],"price":%d.5,"note":"some text that a client sends with each event it posts to us"}`,
			i*7919%10007, i%500, i*2654435761, i%1000)
	}
	return rows
}

// BenchmarkAppend is an Append of many rows in one commit: sorting, conversion, data files, commit.
func BenchmarkAppend(b *testing.B) {
	rows := benchBatch()
	l := openLake(b, vfs.Default, b.TempDir(), &memoryPointer{})
	n := 0
	for b.Loop() {
		if err := l.Append(b.Context(), rows, []consumer.Move{move("s", n, n+1)}); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkRawAppend is what iceberg-go's own append takes for the same rows, sorted and converted beforehand, over the
// same files and catalog.
func BenchmarkRawAppend(b *testing.B) {
	rows := benchBatch()
	l := openLake(b, vfs.Default, b.TempDir(), &memoryPointer{})
	builder, err := newRowBuilder(l.arrow)
	if err != nil {
		b.Fatal(err)
	}
	var records []arrow.RecordBatch
	for sorted := tableOrder(rows); len(sorted) > 0; {
		n := batchLength(sorted)
		record, _ := builder.build(sorted[:n])
		records, sorted = append(records, record), sorted[n:]
	}
	for b.Loop() {
		t, err := l.catalog.LoadTable(b.Context(), tableIdent())
		if err != nil {
			b.Fatal(err)
		}
		reader, err := array.NewRecordReader(l.arrow, records)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := t.Append(b.Context(), reader, nil); err != nil {
			b.Fatal(err)
		}
		reader.Release()
	}
	b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
