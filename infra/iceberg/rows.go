package iceberg

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	icebergo "github.com/apache/iceberg-go"

	"penstock/consumer"
	"penstock/schemas"
)

// batchBytes bounds the text of one Arrow batch, above which a batch holds a single row (at most schemas.MaxBody).
// An append holds two batches at once.
const batchBytes = 8 << 20

// batchRows bounds the rows of a batch.
const batchRows = 1 << 16

// rowOverhead is a guess at the bytes of a row beside its body.
const rowOverhead = 256

// tableOrder sorts rows as data files hold them: by day of receipt (the partition), type, and id.
func tableOrder(rows []consumer.Row) []*consumer.Row {
	type group struct {
		day  int64
		kind string
	}
	groups := make(map[group]*[]orderedRow)
	for i := range rows {
		e := &rows[i].Event
		g := group{day(e.ReceivedTime), e.Type}
		members := groups[g]
		if members == nil {
			members = new([]orderedRow)
			groups[g] = members
		}
		*members = append(*members, orderedRow{prefix(e.ID, 0), prefix(e.ID, 8), &rows[i]})
	}
	sorted := make([]*consumer.Row, 0, len(rows))
	for _, g := range slices.SortedFunc(maps.Keys(groups), func(a, b group) int {
		return cmp.Or(cmp.Compare(a.day, b.day), strings.Compare(a.kind, b.kind))
	}) {
		members := *groups[g]
		slices.SortFunc(members, orderedRow.compare)
		for i := range members {
			sorted = append(sorted, members[i].row)
		}
	}
	return sorted
}

// orderedRow is a row with the first characters of its id: what is compared stands side by side, where rows and their strings
// are spread over memory.
type orderedRow struct {
	id, rest uint64
	row      *consumer.Row
}

func (r orderedRow) compare(o orderedRow) int {
	if c := cmp.Compare(r.id, o.id); c != 0 {
		return c
	}
	if c := cmp.Compare(r.rest, o.rest); c != 0 {
		return c
	}
	return strings.Compare(r.row.Event.ID, o.row.Event.ID)
}

// prefix is up to 8 bytes of s from the given one, as a number that sorts like them.
func prefix(s string, from int) uint64 {
	var b [8]byte
	copy(b[:], s[min(from, len(s)):])
	return binary.BigEndian.Uint64(b[:])
}

// day counts days from 1970-01-01 UTC, as Iceberg's day transform does.
func day(t time.Time) int64 {
	const seconds = 24 * 60 * 60
	s := t.Unix()
	d := s / seconds
	if s%seconds < 0 {
		d--
	}
	return d
}

// converted are rows of one day, at most a batch.
type converted struct {
	batch arrow.RecordBatch
	text  int // bytes of the bodies
	day   icebergo.Date
}

// convert makes batches of the rows, which are in the table's order, each while the one before is being written. Who takes a
// batch releases it.
func convert(ctx context.Context, sc *arrow.Schema, rows []*consumer.Row, to chan<- converted) (err error) {
	defer recovered(&err)
	builder, err := newRowBuilder(sc)
	if err != nil {
		return err
	}
	defer builder.record.Release()
	for len(rows) > 0 {
		n := batchLength(rows)
		batch, text := builder.build(rows[:n])
		select {
		case to <- converted{batch, text, icebergo.Date(day(rows[0].Event.ReceivedTime))}:
			rows = rows[n:]
		case <-ctx.Done():
			batch.Release()
			return ctx.Err()
		}
	}
	return nil
}

// batchLength says how many of the rows go into the next batch, at least one.
func batchLength(rows []*consumer.Row) int {
	size, first := 0, day(rows[0].Event.ReceivedTime)
	for i, r := range rows {
		size += len(r.Body) + rowOverhead
		if i > 0 && (size > batchBytes || i == batchRows || day(r.Event.ReceivedTime) != first) {
			return i
		}
	}
	return len(rows)
}

// rowBuilder turns rows into batches with one set of column builders.
type rowBuilder struct {
	record  *array.RecordBuilder
	body    *array.StringBuilder
	columns []func(*consumer.Row)
}

func newRowBuilder(sc *arrow.Schema) (*rowBuilder, error) {
	b := &rowBuilder{record: array.NewRecordBuilder(memory.DefaultAllocator, sc)}
	for i, field := range sc.Fields() {
		add, err := b.column(field.Name, b.record.Field(i))
		if err != nil {
			b.record.Release()
			return nil, err
		}
		b.columns = append(b.columns, add)
	}
	return b, nil
}

// build makes a batch, whose bodies have text bytes.
func (b *rowBuilder) build(rows []*consumer.Row) (batch arrow.RecordBatch, text int) {
	for _, r := range rows {
		text += len(r.Body)
	}
	b.record.Reserve(len(rows))
	b.body.ReserveData(text)
	for _, r := range rows {
		for _, add := range b.columns {
			add(r)
		}
	}
	return b.record.NewRecordBatch(), text
}

// column gives the function that appends a row's value of the named column to its builder.
func (b *rowBuilder) column(name string, to array.Builder) (func(*consumer.Row), error) {
	switch to := to.(type) {
	case *array.StringBuilder:
		if name == "data" {
			b.body = to
			return func(r *consumer.Row) { appendBody(to, r.Body) }, nil
		}
		if name == "sha256" {
			return func(r *consumer.Row) { appendHex(to, r.Event.SHA256[:]) }, nil
		}
		if of := textOf(name); of != nil {
			return func(r *consumer.Row) { to.Append(validText(of(r))) }, nil
		}
		if of := optionalTextOf(name); of != nil {
			return func(r *consumer.Row) { appendOptional(to, of(r)) }, nil
		}
	case *array.TimestampBuilder:
		if of := timeOf(name); of != nil {
			return func(r *consumer.Row) { to.Append(arrow.Timestamp(of(r).UnixMicro())) }, nil
		}
	case *array.Int64Builder:
		if name == "size" {
			return func(r *consumer.Row) { to.Append(r.Event.Size) }, nil
		}
	case *array.MapBuilder:
		keys, okKeys := to.KeyBuilder().(*array.StringBuilder)
		items, okItems := to.ItemBuilder().(*array.StringBuilder)
		if name == "extensions" && okKeys && okItems {
			return func(r *consumer.Row) { appendMap(to, keys, items, r.Event.Extensions) }, nil
		}
	}
	return nil, fmt.Errorf("no value for column %q of type %s", name, to.Type())
}

func textOf(column string) func(*consumer.Row) string {
	switch column {
	case "id":
		return func(r *consumer.Row) string { return r.Event.ID }
	case "type":
		return func(r *consumer.Row) string { return r.Event.Type }
	case "source":
		return func(r *consumer.Row) string { return r.Event.Source }
	case "content_type":
		return func(r *consumer.Row) string { return r.Event.ContentType }
	case "shard":
		return func(r *consumer.Row) string { return r.Shard }
	case "sequence":
		return func(r *consumer.Row) string { return r.Position.String() }
	}
	return nil
}

func optionalTextOf(column string) func(*consumer.Row) string {
	switch column {
	case "subject":
		return func(r *consumer.Row) string { return r.Event.Subject }
	case "partition_key":
		return func(r *consumer.Row) string { return r.Event.PartitionKey }
	case "origin_id":
		return func(r *consumer.Row) string { return r.Event.OriginID }
	case "data_schema":
		return func(r *consumer.Row) string { return r.Event.DataSchema }
	case "tenant":
		return func(r *consumer.Row) string { return r.Event.Tenant }
	case "data_ref":
		return func(r *consumer.Row) string { return r.Event.DataRef }
	}
	return nil
}

func timeOf(column string) func(*consumer.Row) time.Time {
	switch column {
	case "received_at":
		return func(r *consumer.Row) time.Time { return r.Event.ReceivedTime }
	case "event_time":
		return func(r *consumer.Row) time.Time { return r.Event.Time }
	case "landed_at":
		return func(r *consumer.Row) time.Time { return r.Landed }
	}
	return nil
}

func appendBody(to *array.StringBuilder, body []byte) {
	switch {
	case body == nil:
		to.AppendNull()
	case utf8.Valid(body):
		to.BinaryBuilder.Append(body)
	default:
		to.Append(validText(string(body)))
	}
}

func appendOptional(to *array.StringBuilder, s string) {
	if s == "" {
		to.AppendNull()
		return
	}
	to.Append(validText(s))
}

// validText replaces what is not UTF-8 by U+FFFD. Ingest lets no such text in; but one that came in otherwise must not
// make the whole file unreadable to SQL engines, which refuse it (invariant 8). The index keeps the exact bytes.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func appendHex(to *array.StringBuilder, sum []byte) {
	var text [2 * sha256.Size]byte
	to.BinaryBuilder.Append(text[:hex.Encode(text[:], sum)])
}

func appendMap(to *array.MapBuilder, keys, items *array.StringBuilder, m map[string]string) {
	if len(m) == 0 {
		to.AppendNull()
		return
	}
	to.Append(true)
	for _, k := range slices.Sorted(maps.Keys(m)) {
		keys.Append(validText(k))
		items.Append(validText(m[k]))
	}
}

// checkColumns makes sure that every column of the contract has a value here.
func checkColumns(sc *arrow.Schema) error {
	if sc.NumFields() != len(schemas.EventColumns) {
		return fmt.Errorf("the Arrow schema has %d columns, the events table %d", sc.NumFields(), len(schemas.EventColumns))
	}
	b, err := newRowBuilder(sc)
	if err != nil {
		return err
	}
	b.record.Release()
	return nil
}
