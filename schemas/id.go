package schemas

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/segmentio/ksuid"
)

// ksuidEpoch is second 0 of a KSUID, in Unix time: 13 May 2014.
const ksuidEpoch = 1_400_000_000

// errID says what an id looks like.
var errID = errors.New("not an event id: an id is a KSUID, 27 characters of 0-9, A-Z and a-z")

// NewID makes a unique event id: a KSUID with now's second and 128 random bits.
func NewID(now time.Time) string {
	var id ksuid.KSUID
	second := min(max(now.Unix()-ksuidEpoch, 0), math.MaxUint32) // a clock that is far off must not wrap around
	binary.BigEndian.PutUint32(id[:4], uint32(second))
	_, _ = rand.Read(id[4:]) // never fails: crypto/rand ends the process rather than return an error
	return id.String()
}

// DeriveID makes the id of item i of a batch from the id that stands for the whole batch, always the same one, so that
// a retried batch finds the ids of its first try without having kept 10,000 of them. Same second as the batch's id. For
// a batch that is no id it is still always the same id, at the second of the KSUID epoch.
func DeriveID(batch string, i int) string {
	id, err := parseID(batch)
	if err != nil {
		id = ksuid.Nil
	}
	input := binary.BigEndian.AppendUint32([]byte(batch), uint32(i))
	sum := sha256.Sum256(input)
	copy(id[4:], sum[:])
	return id.String()
}

// IDTime gives the second at which the id was made, or an error that says what an id looks like.
func IDTime(id string) (time.Time, error) {
	parsed, err := parseID(id)
	if err != nil {
		return time.Time{}, err
	}
	return parsed.Time().UTC(), nil
}

// IDBytes is the size of an id in binary.
const IDBytes = 20

// IDBytesOf is the id in binary; false for what is no id.
func IDBytesOf(id string) (binary [IDBytes]byte, ok bool) {
	parsed, err := parseID(id)
	return parsed, err == nil
}

// parseID is ksuid.Parse for the one right spelling of an id: Parse is lenient about characters.
func parseID(id string) (ksuid.KSUID, error) {
	parsed, err := ksuid.Parse(id)
	if err != nil || parsed.String() != id {
		return ksuid.Nil, errID
	}
	return parsed, nil
}
