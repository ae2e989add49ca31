package local

import (
	"fmt"
	"os"
	"syscall"
)

const (
	// outsideDuckDB is what a run may take beside twice the memory of DuckDB's operators: of what they hold, rows in work may
	// be a second copy.
	outsideDuckDB = 512 << 20
	// keepsLittle is how much more than at its start a worker may keep to be used again.
	keepsLittle = 256 << 20
)

// memoryBound bounds what this process takes (setrlimit(2), RLIMIT_DATA: memory of its own that it can write to, stacks of
// threads too). An allocation beyond that fails.
type memoryBound struct {
	first uint64 // what it took once ready for its first job
	ahead uint64 // of that, what its empty database takes
	hard  uint64 // the most that may be set
}

// newMemoryBound makes one, and has the kernel, should memory run out all the same, end this process before others.
func newMemoryBound() (*memoryBound, error) {
	const firstToGo = "1000"
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(firstToGo), 0) // proc_pid_oom_score_adj(5): better, but not needed
	_ = os.WriteFile("/proc/self/comm", []byte("penstock-sql"), 0)     // proc_pid_comm(5): for those who look
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_DATA, &limit); err != nil {
		return nil, fmt.Errorf("bounding SQL's memory: %w", err)
	}
	first, err := takenMemory()
	if err != nil {
		return nil, err
	}
	return &memoryBound{first: first, hard: limit.Max}, nil
}

// ready says that the first database is open.
func (b *memoryBound) ready() error {
	taken, err := takenMemory()
	if err != nil {
		return err
	}
	b.first, b.ahead = taken, max(taken, b.first)-b.first
	return nil
}

// run bounds the run that begins, whose operators may have so many bytes.
func (b *memoryBound) run(operators int64) error { return b.set(2 * uint64(operators)) }

// check bounds the check that begins. A database may be opened beside it.
func (b *memoryBound) check() error { return b.set(b.ahead) }

func (b *memoryBound) set(more uint64) error {
	taken, err := takenMemory()
	if err != nil {
		return err
	}
	return b.limit(taken + more + outsideDuckDB)
}

// lift takes the bound away, between jobs.
func (b *memoryBound) lift() error { return b.limit(b.hard) }

func (b *memoryBound) limit(bytes uint64) error {
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: min(bytes, b.hard), Max: b.hard}); err != nil {
		return fmt.Errorf("bounding SQL's memory: %w", err)
	}
	return nil
}

// used reports whether the process keeps much.
func (b *memoryBound) used() bool {
	taken, err := takenMemory()
	return err != nil || taken > b.first+keepsLittle
}

// takenMemory is what counts towards RLIMIT_DATA, in bytes (proc_pid_statm(5), data).
func takenMemory() (uint64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("bounding SQL's memory: %w", err)
	}
	var pages [6]uint64
	if _, err := fmt.Sscan(string(statm), &pages[0], &pages[1], &pages[2], &pages[3], &pages[4], &pages[5]); err != nil {
		return 0, fmt.Errorf("bounding SQL's memory: %w", err)
	}
	return pages[5] * uint64(os.Getpagesize()), nil
}
