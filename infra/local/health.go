package local

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"penstock/ingest"
)

// errorLogInterval keeps Pebble, which retries a failed flush at once and without end, from filling the log.
const errorLogInterval = 10 * time.Second

// health takes what one Pebble reports and turns it into an answer to "can we still write?". It is Pebble's Logger, too:
// Fatalf is how Pebble says that it must not go on.
type health struct {
	logger *slog.Logger
	failed chan struct{}
	whole  *health // fails together with this one; nil if this is the whole
	// flushFailed gets the first failed flush, for Open.
	flushFailed chan error

	mu         sync.Mutex
	fatal      error // for good
	flush      error // until a flush succeeds
	lastFlush  error // what the last flush ended with
	lastLogged time.Time
	damaged    map[string]struct{} // files that have been told of
}

var _ pebble.Logger = (*health)(nil)

// Infof receives the details of every flush and compaction.
func (h *health) Infof(format string, args ...any) {
	h.logger.Debug("pebble", "message", fmt.Sprintf(format, args...))
}

// Errorf receives what went wrong without being fatal.
func (h *health) Errorf(format string, args ...any) {
	h.logSometimes("pebble error", fmt.Sprintf(format, args...))
}

// Fatalf marks the store as failed and returns, though Pebble's own logger would end the process. Pebble calls it on
// disk errors from two places, and goes on soundly from both: after a failed commit Apply returns to its caller, who
// asks health before it believes in success; after a failed write to the manifest the flush or compaction ends with
// the same error. The other places are checks of Pebble's own invariants; then too no more is written.
func (h *health) Fatalf(format string, args ...any) {
	// The error among the arguments stays visible to errors.Is.
	err := fmt.Errorf("%s", fmt.Sprintf(format, args...))
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			err = fmt.Errorf("%s%w", fmt.Sprintf(format, args...), hidden{cause})
			break
		}
	}
	h.fail(err)
}

// hidden is in an error's chain but not in its text.
type hidden struct{ error }

func (hidden) Error() string   { return "" }
func (e hidden) Unwrap() error { return e.error }

func (h *health) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fatal != nil {
		return
	}
	h.fatal = fmt.Errorf("local store has failed and refuses writes until it is restarted: %w", withFull(err))
	close(h.failed)
	if h.whole != nil {
		h.whole.fail(err)
		return
	}
	h.logger.Error("local store has failed; writes are refused until restart", "error", err)
}

// withFull adds ingest.ErrStorageFull to an error that comes from a full disk.
func withFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errors.Join(ingest.ErrStorageFull, err)
	}
	return err
}

// nothingToFlush is how Pebble says that a flush went well and had nothing to write. It does not export that error.
const nothingToFlush = "pebble: empty table"

// flushEnded takes the end of a flush. A real error Pebble reports once more as a background error, before it tries again.
func (h *health) flushEnded(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil || err.Error() == nothingToFlush {
		h.flush = nil
	}
	h.lastFlush = err
}

func (h *health) backgroundError(err error) {
	h.logSometimes("pebble background error", err.Error())
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lastFlush != nil && errors.Is(err, h.lastFlush) {
		h.flush = fmt.Errorf("local store can't flush and refuses writes until it can: %w", withFull(err))
		select {
		case h.flushFailed <- withFull(err):
		default:
		}
	}
}

// corrupted takes that a file is not as it was written, which Pebble found when it read it. Nothing may build upon a damaged state.
// In the index it costs the look-ups of what is there, which get an error; no restart would mend it, and acks don't need it. Should
// a compaction need the file, the index stands still in the end, which its lag shows.
func (h *health) corrupted(info pebble.DataCorruptionInfo) {
	if h.whole == nil {
		h.fail(fmt.Errorf("data corruption in %s: %w", info.Path, info.Details))
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, told := h.damaged[info.Path]; !told { // look-ups may find it again and again
		h.damaged[info.Path] = struct{}{}
		h.logger.Error("the index is damaged; look-ups of events in this file fail until it is restored",
			"file", info.Path, "error", info.Details)
	}
}

func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fatal != nil {
		return h.fatal
	}
	return h.flush
}

func newHealth(logger *slog.Logger, whole *health) *health {
	return &health{logger: logger, failed: make(chan struct{}), flushFailed: make(chan error, 1), whole: whole,
		damaged: make(map[string]struct{})}
}

// fatalErr is err without the passing kind.
func (h *health) fatalErr() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fatal
}

func (h *health) logSometimes(message, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); now.Sub(h.lastLogged) >= errorLogInterval {
		h.lastLogged = now
		h.logger.Error(message, "error", detail)
	}
}

// listener is called by Pebble under its own locks: it only takes notes.
func (h *health) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: h.backgroundError,
		FlushEnd:        func(info pebble.FlushInfo) { h.flushEnded(info.Err) },
		DataCorruption:  h.corrupted,
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			h.logger.Warn("pebble stalls writes", "reason", info.Reason)
		},
		WriteStallEnd: func() { h.logger.Info("pebble takes writes again") },
	}
}
