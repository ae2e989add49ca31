package ingest

import "time"

// What the conformance suites are run on. They import this package, so that no test within it can import them.

type (
	FakeClaims = fakeClaims
	FakeBodies = fakeBodies
)

// NewFakeClaims makes claims that live for a day of the clock.
func NewFakeClaims(now func() time.Time) *FakeClaims { return &fakeClaims{now: now} }

// Get returns a body.
func (b *fakeBodies) Get(ref string) []byte { return b.get(ref) }
