package local

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"penstock/ingest"
)

// A stored record is its header, its partition key with the length before it, and its data. The header has the arrival
// time and the running total of the shard's bytes up to and with the record, so that age and size of any stretch are
// known from its two ends: Trim finds its cut by binary search.
const headerLen = 8 + 8

type header struct {
	sequence uint64
	arrived  int64
	total    int64
	size     int64
}

// recordSize is what a record counts for in totals.
func recordSize(r *ingest.Record) int64 {
	n := len(r.PartitionKey)
	return int64(recordKeyLen + headerLen + uvarintLen(n) + n + len(r.Data))
}

func uvarintLen(n int) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], uint64(n))
}

// appendRecord copies the record into the batch.
func appendRecord(batch *pebble.Batch, shard int, sequence uint64, arrived, total int64, r *ingest.Record) error {
	op := batch.SetDeferred(recordKeyLen, int(recordSize(r))-recordKeyLen)
	copy(op.Key, keyRecord(shard, sequence))
	v := binary.BigEndian.AppendUint64(op.Value[:0], uint64(arrived))
	v = binary.BigEndian.AppendUint64(v, uint64(total))
	v = appendString(v, r.PartitionKey)
	copy(op.Value[len(v):], r.Data)
	if err := op.Finish(); err != nil {
		return fmt.Errorf("adding a record: %w", err)
	}
	return nil
}

// readHeader reads the header of the record that it stands on.
func readHeader(it *pebble.Iterator) (header, error) {
	h, _, err := readRecord(it)
	return h, err
}

// readRecord reads the record that it stands on; data is good until the iterator moves.
func readRecord(it *pebble.Iterator) (h header, data []byte, err error) {
	v, err := it.ValueAndErr()
	if err != nil {
		return header{}, nil, fmt.Errorf("reading the stream: %w", err)
	}
	key := it.Key()
	if len(key) != recordKeyLen || len(v) < headerLen {
		return header{}, nil, fmt.Errorf("stream record %x: %w", key, errCorrupt)
	}
	h = header{
		sequence: recordSequence(key),
		arrived:  int64(binary.BigEndian.Uint64(v)),
		total:    int64(binary.BigEndian.Uint64(v[8:])),
		size:     int64(len(key) + len(v)),
	}
	f := fields{b: v[headerLen:]}
	if f.bytes(); f.err != nil {
		return header{}, nil, fmt.Errorf("stream record %s: %w", formatSequence(h.sequence), f.err)
	}
	return h, f.b, nil
}
