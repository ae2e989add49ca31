package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
)

// fingerprint hashes everything that makes the request's events: kind of request, and of every item its attributes and
// body as they came. Every part is framed by its length, so that no two requests give the same bytes. It is of no use once
// ctx has ended, because then it stops.
func (r *request) fingerprint(ctx context.Context) [32]byte {
	f := framed{sha256.New()}
	kind := "single"
	if r.batch {
		kind = "batch"
	}
	f.text(kind)
	f.number(len(r.items))
	for i := range r.items {
		if ctx.Err() != nil {
			break
		}
		a := &r.items[i].Attributes
		f.text(a.ID, a.Type, a.Source, a.Subject, a.Time, a.ContentType, a.DataSchema, a.PartitionKey)
		f.number(len(a.Extensions))
		for _, name := range slices.Sorted(maps.Keys(a.Extensions)) {
			f.text(name, a.Extensions[name])
		}
		f.number(len(r.items[i].Body))
		_, _ = f.Write(r.items[i].Body) // a hash.Hash never fails
	}
	return [32]byte(f.Sum(nil))
}

// framed is a hash of parts with their lengths.
type framed struct{ hash.Hash }

func (f framed) number(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	_, _ = f.Write(b[:])
}

func (f framed) text(parts ...string) {
	for _, s := range parts {
		f.number(len(s))
		_, _ = f.Write([]byte(s))
	}
}
