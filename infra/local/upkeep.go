package local

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// SafeToTrim tells, per shard, the sequence number up to which every sink holds the stream: the lake durably, the index as far
// as its checkpoint says.
type SafeToTrim func(ctx context.Context) (map[string]string, error)

// Tend does the store's housekeeping every interval until ctx ends: it trims the stream behind the slowest sink and
// removes expired claims and executions. An error is logged and the work tried again at the next interval, since nothing
// depends on it but disk space, which the DiskGuard watches.
func (s *Store) Tend(ctx context.Context, interval time.Duration, safe SafeToTrim, log *slog.Logger) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.tend(ctx, safe, log); err != nil && ctx.Err() == nil {
			log.Warn("housekeeping failed; it is tried again", "error", err, "in", interval)
		}
	}
}

func (s *Store) tend(ctx context.Context, safe SafeToTrim, log *slog.Logger) error {
	_, claimsErr := s.ExpireClaims(ctx)
	_, executionsErr := s.ExpireExecutions(ctx)
	return errors.Join(claimsErr, executionsErr, s.trimBehind(ctx, safe, log))
}

func (s *Store) trimBehind(ctx context.Context, safe SafeToTrim, log *slog.Logger) error {
	positions, err := safe(ctx)
	if err != nil {
		return err
	}
	trimmed, err := s.stream.Trim(ctx, positions)
	if trimmed.Records > 0 { // also beside an error
		log.Info("trimmed the stream", "records", trimmed.Records, "bytes", trimmed.Bytes)
	}
	return err
}
