//go:build !frontend

package aws_test

import (
	"bytes"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"penstock/infra/iceberg"
)

// lakeBodies are the bodies in the table by event id, read from its live files as they lie in store.
func lakeBodies(t *testing.T, files iceberg.Files, l *iceberg.Lake) map[string][]string {
	t.Helper()
	names, err := l.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string][]string{}
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			t.Fatalf("live file: %v", err)
		}
		r, err := file.NewParquetReader(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		rows, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		table, err := rows.ReadTable(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		columns := map[string][]string{}
		for _, column := range []string{"id", "data"} {
			i := table.Schema().FieldIndices(column)[0]
			for _, chunk := range table.Column(i).Data().Chunks() {
				values, ok := chunk.(*array.String)
				if !ok {
					t.Fatalf("column %s is %T", column, chunk)
				}
				for row := range values.Len() {
					columns[column] = append(columns[column], values.Value(row))
				}
			}
		}
		for row, id := range columns["id"] {
			bodies[id] = append(bodies[id], columns["data"][row])
		}
		table.Release()
	}
	return bodies
}
