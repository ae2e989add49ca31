//go:build !linux

package local

// memoryBound is nothing: other systems don't bound what a process takes. DuckDB's own limit remains.
type memoryBound struct{}

func newMemoryBound() (*memoryBound, error) { return &memoryBound{}, nil }

func (*memoryBound) ready() error { return nil }

func (*memoryBound) run(int64) error { return nil }

func (*memoryBound) check() error { return nil }

func (*memoryBound) lift() error { return nil }

func (*memoryBound) used() bool { return false }
