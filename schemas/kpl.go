package schemas

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// The KPL aggregated record format: four bytes of magic, a protobuf AggregatedRecord, and its MD5
// (https://github.com/awslabs/kinesis-aggregation/blob/master/kpl-aggregation-format.md). Every sub-record carries the
// record's own explicit hash key, because KCL discards a whole aggregate when one sub-record's effective hash key lies
// outside the shard. A record holds at most MaxAggregateEvents events and MaxAggregateBytes; a larger event is alone.

const kplMagic = "\xf3\x89\x9a\xc2"

// Fields of AggregatedRecord and of Record, its sub-record.
const (
	fieldPartitionKeyTable    protowire.Number = 1
	fieldExplicitHashKeyTable protowire.Number = 2
	fieldRecords              protowire.Number = 3

	fieldPartitionKeyIndex    protowire.Number = 1
	fieldExplicitHashKeyIndex protowire.Number = 2
	fieldData                 protowire.Number = 3
)

// AggregatedSize is the number of bytes that AppendAggregate will append for n events of total bytes.
func AggregatedSize(partitionKey string, hashKey HashKey, events [][]byte) int {
	size := len(kplMagic) + md5.Size
	size += sizeBytesField(len(partitionKey)) + sizeBytesField(len(hashKey.String()))
	for _, event := range events {
		size += sizeBytesField(sizeRecord(event))
	}
	return size
}

// sizeBytesField is the size of a field of n bytes. Every field here has a tag of one byte.
func sizeBytesField(n int) int { return 1 + protowire.SizeBytes(n) }

// sizeRecord is the size of a sub-record: two indices, each a tag and a zero, and the data.
func sizeRecord(event []byte) int { return 2 + 2 + sizeBytesField(len(event)) }

// AppendAggregate appends one aggregated record that holds the encoded events, in order.
func AppendAggregate(dst []byte, partitionKey string, hashKey HashKey, events [][]byte) []byte {
	dst = slices.Grow(dst, AggregatedSize(partitionKey, hashKey, events))
	dst = append(dst, kplMagic...)
	message := len(dst)
	dst = protowire.AppendTag(dst, fieldPartitionKeyTable, protowire.BytesType)
	dst = protowire.AppendString(dst, partitionKey)
	dst = protowire.AppendTag(dst, fieldExplicitHashKeyTable, protowire.BytesType)
	dst = protowire.AppendString(dst, hashKey.String())
	for _, event := range events {
		dst = protowire.AppendTag(dst, fieldRecords, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(sizeRecord(event)))
		dst = protowire.AppendTag(dst, fieldPartitionKeyIndex, protowire.VarintType)
		dst = protowire.AppendVarint(dst, 0)
		dst = protowire.AppendTag(dst, fieldExplicitHashKeyIndex, protowire.VarintType)
		dst = protowire.AppendVarint(dst, 0)
		dst = protowire.AppendTag(dst, fieldData, protowire.BytesType)
		dst = protowire.AppendBytes(dst, event)
	}
	sum := md5.Sum(dst[message:])
	return append(dst, sum[:]...)
}

// Deaggregate gives the data of every sub-record of an aggregated record, aliasing b, or b itself when it does not bear
// the magic (a record written by somebody who does not aggregate). A record that bears the magic but whose checksum or
// protobuf is wrong, or that holds nothing, is an ErrCorrupt.
func Deaggregate(b []byte) ([][]byte, error) { return deaggregate(b, true) }

// DeaggregateChecked is Deaggregate for bytes that a store has checked by a checksum of its own: MD5 is the slowest part.
func DeaggregateChecked(b []byte) ([][]byte, error) { return deaggregate(b, false) }

func deaggregate(b []byte, check bool) ([][]byte, error) {
	if !bytes.HasPrefix(b, []byte(kplMagic)) {
		return [][]byte{b}, nil
	}
	if len(b) < len(kplMagic)+md5.Size {
		return nil, fmt.Errorf("%w: aggregate of %d bytes is too short for its checksum", ErrCorrupt, len(b))
	}
	message, checksum := b[len(kplMagic):len(b)-md5.Size], b[len(b)-md5.Size:]
	if check {
		if sum := md5.Sum(message); !bytes.Equal(sum[:], checksum) {
			return nil, fmt.Errorf("%w: checksum of the aggregate is wrong", ErrCorrupt)
		}
	}
	return parseAggregate(message)
}

// parseAggregate reads an AggregatedRecord. The tables may stand behind the records, so indices are checked at the end.
func parseAggregate(message []byte) ([][]byte, error) {
	var events [][]byte
	var partitionKeys, hashKeys, partitionKeysUsed, hashKeysUsed uint64
	err := eachField(message, func(f field) error {
		if f.kind != protowire.BytesType {
			return nil
		}
		switch f.number {
		case fieldPartitionKeyTable:
			partitionKeys++
		case fieldExplicitHashKeyTable:
			hashKeys++
		case fieldRecords:
			r, err := parseRecord(f.bytes)
			if err != nil {
				return fmt.Errorf("sub-record %d: %w", len(events), err)
			}
			partitionKeysUsed = max(partitionKeysUsed, r.partitionKeysUsed)
			hashKeysUsed = max(hashKeysUsed, r.hashKeysUsed)
			events = append(events, r.data)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case partitionKeysUsed > partitionKeys || hashKeysUsed > hashKeys:
		return nil, fmt.Errorf("%w: a sub-record refers to a key that the aggregate does not have", ErrCorrupt)
	case len(events) == 0:
		return nil, fmt.Errorf("%w: aggregate without sub-records", ErrCorrupt)
	}
	return events, nil
}

// subRecord is a Record of an aggregate: its data, and how many keys the tables must have for its indices.
type subRecord struct {
	data                            []byte
	partitionKeysUsed, hashKeysUsed uint64
}

func parseRecord(message []byte) (subRecord, error) {
	var r subRecord
	err := eachField(message, func(f field) error {
		switch {
		case f.number == fieldPartitionKeyIndex && f.kind == protowire.VarintType:
			r.partitionKeysUsed = f.varint + 1
			if r.partitionKeysUsed == 0 {
				return fmt.Errorf("%w: index of the partition key overflows", ErrCorrupt)
			}
		case f.number == fieldExplicitHashKeyIndex && f.kind == protowire.VarintType:
			r.hashKeysUsed = f.varint + 1
			if r.hashKeysUsed == 0 {
				return fmt.Errorf("%w: index of the explicit hash key overflows", ErrCorrupt)
			}
		case f.number == fieldData && f.kind == protowire.BytesType:
			r.data = slices.Clip(f.bytes)
		}
		return nil
	})
	switch {
	case err != nil:
		return subRecord{}, err
	case r.partitionKeysUsed == 0:
		return subRecord{}, fmt.Errorf("%w: no index of a partition key", ErrCorrupt)
	case r.data == nil:
		return subRecord{}, fmt.Errorf("%w: no data", ErrCorrupt)
	}
	return r, nil
}

// field is one field of a protobuf message; its value is in varint or bytes by its kind, other kinds have none.
type field struct {
	number protowire.Number
	kind   protowire.Type
	varint uint64
	bytes  []byte
}

// eachField calls visit for every field of a protobuf message.
func eachField(message []byte, visit func(field) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return fmt.Errorf("%w: protobuf: %w", ErrCorrupt, protowire.ParseError(n))
		}
		message = message[n:]
		f := field{number: number, kind: kind}
		switch kind {
		case protowire.VarintType:
			f.varint, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return fmt.Errorf("%w: protobuf: %w", ErrCorrupt, protowire.ParseError(n))
		}
		if err := visit(f); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}
