package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"penstock/schemas"
)

// The first byte of a key says what it is. Never reuse one: the data directory outlives the program. Of versions before this one there
// may be 'q' and 'o'.
const (
	kindMeta         = 'm' // name → value
	kindRecord       = 's' // shard number, sequence → stream record
	kindHorizon      = 'h' // shard number → what was trimmed
	kindItem         = 'i' // event id → event
	kindCheckpoint   = 'k' // shard id → the index's checkpoint
	kindLease        = 'l' // sink, shard id → lease
	kindClaim        = 'c' // idempotency key → claim
	kindClaimAge     = 'e' // time of storing, idempotency key → nothing
	kindDeadLetter   = 'd' // sink, shard id, position → dead letter
	kindTombstone    = 't' // event id → tombstone of an erased event
	kindExecution    = 'x' // execution id → execution of SQL, with the beginning of that
	kindStatement    = 'n' // execution id → its SQL, where that is longer
	kindStatementKey = 'y' // Idempotency-Key of a query → what it was taken for
	kindSubmitted    = 'a' // time of submission, execution id → nothing
)

// errCorrupt is wrapped in every error about a stored key or value that is not what this package writes.
var errCorrupt = fmt.Errorf("local state: %w", schemas.ErrCorrupt)

// errKey refuses names that can't be part of a key.
var errKey = errors.New("name holds a NUL byte")

func keyShards() []byte  { return []byte{kindMeta, 's'} }
func keyPointer() []byte { return []byte{kindMeta, 'p'} }
func keyProof() []byte   { return []byte{kindMeta, 'r'} }

func keyRecord(shard int, sequence uint64) []byte {
	k := append(make([]byte, 0, recordKeyLen), kindRecord)
	k = binary.BigEndian.AppendUint16(k, uint16(shard))
	return binary.BigEndian.AppendUint64(k, sequence)
}

const recordKeyLen = 1 + 2 + 8

func recordSequence(key []byte) uint64 { return binary.BigEndian.Uint64(key[3:recordKeyLen]) }

func keyHorizon(shard int) []byte {
	return binary.BigEndian.AppendUint16([]byte{kindHorizon}, uint16(shard))
}

func keyItem(id string) []byte          { return append([]byte{kindItem}, id...) }
func keyCheckpoint(shard string) []byte { return append([]byte{kindCheckpoint}, shard...) }
func keyClaim(key string) []byte        { return append([]byte{kindClaim}, key...) }

func keyClaimAge(since int64, key string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{kindClaimAge}, uint64(since)), key...)
}

// prefixNames is kind and names, each ended by NUL so that none is the beginning of another.
func prefixNames(kind byte, names ...string) ([]byte, error) {
	k := []byte{kind}
	for _, name := range names {
		if strings.IndexByte(name, 0) >= 0 {
			return nil, fmt.Errorf("%q: %w", name, errKey)
		}
		k = append(append(k, name...), 0)
	}
	return k, nil
}

// appendPosition appends p so that keys sort like positions: sequences are numbers of up to 56 digits without leading
// zeros, so the shorter is the smaller.
func appendPosition(k []byte, p schemas.Position) []byte {
	k = append(k, byte(len(p.Sequence)))
	k = append(k, p.Sequence...)
	return binary.BigEndian.AppendUint32(k, uint32(p.Sub))
}

// splitDeadLetterKey is the reverse of prefixNames(kindDeadLetter, sink, shard) with appendPosition.
func splitDeadLetterKey(k []byte) (sink, shard string, p schemas.Position, err error) {
	parts := bytes.SplitN(k[1:], []byte{0}, 3)
	if len(parts) != 3 || len(parts[2]) < 1 || len(parts[2]) != 1+int(parts[2][0])+4 {
		return "", "", schemas.Position{}, fmt.Errorf("key of a dead letter: %w", errCorrupt)
	}
	digits := parts[2][1 : len(parts[2])-4]
	sub := binary.BigEndian.Uint32(parts[2][len(parts[2])-4:])
	return string(parts[0]), string(parts[1]), schemas.Position{Sequence: string(digits), Sub: int(sub)}, nil
}

// prefixEnd is the first key after all those that start with prefix.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

func formatSequence(n uint64) string { return strconv.FormatUint(n, 10) }

// parseSequence reads a sequence number of ours; "" is 0, before the first.
func parseSequence(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || formatSequence(n) != s {
		return 0, fmt.Errorf("%q is not a sequence number of this stream", s)
	}
	return n, nil
}
