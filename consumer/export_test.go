package consumer

import (
	"slices"
)

// What the conformance suites are run on. They import this package, so that no test within it can import them.

type (
	MemLake    = memLake
	MemStream  = memStream
	MemLetters = memLetters
	MemBodies  = memBodies
)

var (
	NewMemStream = newMemStream
	NewMemIndex  = newMemIndex
	NewMemLake   = newMemLake
	NewMemLeases = newMemLeases
	NewMemBodies = newMemBodies
)

// Bodies are the rows' bodies by event id.
func (l *memLake) Bodies() map[string][]string {
	bodies := map[string][]string{}
	for _, r := range l.snapshot() {
		bodies[r.Event.ID] = append(bodies[r.Event.ID], string(r.Body))
	}
	return bodies
}

// Put stores a record.
func (s *memStream) Put(shard string, data []byte) { s.put(shard, data) }

// Split closes a shard and lists children of it.
func (s *memStream) Split(parent string, children ...string) { s.split(parent, children...) }

// TrimBefore forgets what is before the record.
func (s *memStream) TrimBefore(shard, sequence string) {
	s.mu.Lock()
	i := slices.IndexFunc(s.records[shard], func(r Record) bool { return r.Sequence == sequence })
	through := s.records[shard][i-1].Sequence
	s.mu.Unlock()
	s.trim(shard, through)
}

// Put stores a body.
func (b *memBodies) Put(id string, body []byte) (ref string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ref = "s3://bodies/" + id
	b.objects[ref] = body
	return ref
}
