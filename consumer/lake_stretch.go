package consumer

import "time"

// A stretch lengthens the time between a sink's flushes while other workers' commits come before its own: many workers on one
// table would otherwise spend their time on making commits again. It grows fast and shrinks slowly, so that about a fifth of
// the flushes meet another's commit, however many workers there are.
const (
	stretchMore = 1.5
	stretchLess = 0.9
	// maxStretch bounds how much later than FlushAge a row may come into the table.
	maxStretch = 8
)

// stretch is a factor of FlushAge. The zero value is ready.
type stretch struct{ over float64 } // 1

// note takes note of a flush.
func (s *stretch) note(overtaken bool) {
	by := stretchLess
	if overtaken {
		by = stretchMore
	}
	s.over = min(max((1+s.over)*by, 1), maxStretch) - 1
}

// of is d, stretched.
func (s *stretch) of(d time.Duration) time.Duration { return d + time.Duration(s.over*float64(d)) }
