package iceberg

import "penstock/consumer"

const (
	// rowGroupText bounds the text of a row group as a reader has it in memory. DuckDB reads up to 2,048 rows at a time,
	// but never from two row groups, and functions over JSON need several times the text that they read. The Parquet
	// writer's own limit (rowGroupBytes) is of bytes that are compressed already, which may be a thousandth.
	rowGroupText = 16 << 20
	// largeBody is the size from which a row goes to the files of large bodies: more than a hundred rows below it fit a row
	// group, so those of small rows never get shorter than that.
	largeBody = rowGroupText / 128
)

// bySize splits the rows into small and large ones, each in the same order.
func bySize(rows []*consumer.Row) (small, large []*consumer.Row) {
	for _, r := range rows {
		if len(r.Body) < largeBody {
			small = append(small, r)
		} else {
			large = append(large, r)
		}
	}
	return small, large
}
