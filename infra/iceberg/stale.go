package iceberg

import (
	"fmt"
	"time"
)

// CommitWithin is how long an operation may take from its first file to its commit. Only the process that makes a file knows
// that it is coming into the table; to the orphan sweep of another it looks like any that nothing refers to, and is spared for
// SafeAge. So a process that was frozen for longer must not commit it.
const CommitWithin = time.Hour

// inTime is an error when an operation that began then must not commit any more. A machine that sleeps may stop one of its
// clocks, so both count.
func inTime(began time.Time) error {
	now := time.Now()
	if took := max(now.Sub(began), now.Round(0).Sub(began.Round(0))); took > CommitWithin {
		return fmt.Errorf("it has taken %s, and other processes may have removed its files: it begins anew", took.Round(time.Second))
	}
	return nil
}
