package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrClosed is returned by every operation on a closed Store.
var ErrClosed = errors.New("local store is closed")

// maxShards keeps shard numbers within the two bytes that keys have for them, and a page of metrics readable.
const maxShards = 1024

// maxDetached bounds the operations that go on after their caller's deadline. The index has up to one for each shard: should
// they all hang, as many are left for the stream.
const maxDetached = 2 * maxShards

// Config of a Store. Dir, FS, Shards, Now and Logger are required.
type Config struct {
	// Dir is the absolute path of the data directory; it is made if it is not there. The state lies in Dir/state. What lies
	// in its ScratchDir is removed.
	Dir string
	// FS is vfs.Default, or a file system that can lose power in a test.
	FS vfs.FS
	// Shards is the number of shards of a new stream, 1 to 1024. An existing stream keeps its own.
	Shards int
	// Retention is how long a record stays at least as far as Trim is concerned; 0 means without limit of age.
	Retention time.Duration
	// RetentionBytes is the size of all shards together above which Trim removes the oldest; 0 means without limit.
	RetentionBytes int64
	// MinFree is the number of bytes of disk to keep free; new data is refused below it. 0 means no check.
	MinFree int64
	// Now is the clock of arrival times.
	Now func() time.Time
	// Logger receives what Pebble has to say.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("data directory %q: must be an absolute path", c.Dir)
	case c.FS == nil || c.Now == nil || c.Logger == nil:
		return errors.New("local store: FS, Now and Logger are required")
	case c.Shards < 1 || c.Shards > maxShards:
		return fmt.Errorf("number of shards %d: must be 1 to %d", c.Shards, maxShards)
	case c.Retention < 0 || c.RetentionBytes < 0 || c.MinFree < 0:
		return errors.New("local store: Retention, RetentionBytes and MinFree must not be negative")
	}
	return nil
}

// Store is the state of a local Penstock: a Pebble database for what must be durable when it is told of, and one for the
// index, which can be made again from the stream. Its methods and those of its parts are safe for concurrent use.
type Store struct {
	cfg   Config
	dir   io.Closer  // lock on the data directory
	db    *pebble.DB // the state
	items *pebble.DB // the index
	guard *DiskGuard
	// health is the whole's and the state's, itemsHealth the index's.
	health, itemsHealth *health

	// gate is held shared by everything that touches the databases, and exclusively by Close: Pebble panics when used after it.
	gate    sync.RWMutex
	closed  bool
	closing chan struct{} // wakes those who wait
	wakeAll sync.Once
	slots   chan struct{}
	proving sync.Mutex // held by the write of Prove

	clock       clock
	stream      *Stream
	index       *Index
	leases      *Leases
	claims      *Claims
	deadLetters *DeadLetters
	executions  *Executions
	ledger      *Ledger
	pointer     *Pointer
	tombstones  *Tombstones
}

// Open opens the store, or makes it. It returns ErrInUse when another process has the directory, ErrNotWritable when it
// may not write there, and ErrNewerFormat when a later version of Penstock wrote it.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("opening local store: %w", err)
	}
	lock, err := openDataDir(cfg.FS, cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := emptyScratch(cfg.FS, cfg.Dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &Store{
		cfg:     cfg,
		dir:     lock,
		guard:   NewDiskGuard(cfg.FS, cfg.Dir, cfg.MinFree),
		health:  newHealth(cfg.Logger, nil),
		closing: make(chan struct{}),
		slots:   make(chan struct{}, maxDetached),
		clock:   clock{now: cfg.Now},
	}
	s.itemsHealth = newHealth(cfg.Logger, s.health)
	if err := s.openDatabases(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening state in %s: %w", cfg.Dir, err), lock.Close())
	}
	if err := s.openParts(); err != nil {
		return nil, errors.Join(fmt.Errorf("reading state in %s: %w", cfg.Dir, err), s.Close())
	}
	return s, nil
}

func (s *Store) openDatabases(ctx context.Context) (err error) {
	cache := pebble.NewCache(cacheSize)
	defer cache.Unref() // the databases hold it
	if s.db, err = s.openState(ctx, cache); err != nil {
		return err
	}
	if s.items, err = pebble.Open(indexDir(s.cfg.FS, s.cfg.Dir), indexOptions(s.cfg.FS, s.itemsHealth, cache)); err != nil {
		return errors.Join(fmt.Errorf("index: %w", withFull(err)), s.db.Close())
	}
	return nil
}

// openState opens Pebble, which replays its log and waits until all of it is flushed. A flush that fails it tries again at once
// and without end, so a start on a full disk would never come to one. Then, or when ctx ends, this gives up; the lock
// that Pebble has on the state stays until it gives up too, or the process ends.
func (s *Store) openState(ctx context.Context, cache *pebble.Cache) (*pebble.DB, error) {
	type opened struct {
		db  *pebble.DB
		err error
	}
	done := make(chan opened, 1)
	opts := stateOptions(s.cfg.FS, s.health, cache)
	go func() {
		db, err := pebble.Open(stateDir(s.cfg.FS, s.cfg.Dir), opts)
		done <- opened{db, err}
	}()
	var cause error
	select {
	case o := <-done:
		return o.db, o.err
	case err := <-s.health.flushFailed:
		cause = fmt.Errorf("replaying the log (if the disk is full, make room): %w", err)
	case <-ctx.Done():
		cause = ctx.Err()
	}
	go func() {
		if o := <-done; o.err == nil {
			_ = o.db.Close() // nothing was written that its log doesn't have
		}
	}()
	return nil, cause
}

func (s *Store) openParts() error {
	shards, err := s.storedShards()
	if err != nil {
		return err
	}
	if s.index, err = openIndex(s); err != nil {
		return err
	}
	if s.stream, err = openStream(s, shards); err != nil {
		return err
	}
	if s.tombstones, err = openTombstones(s); err != nil {
		return err
	}
	s.leases = &Leases{store: s}
	s.claims = newClaims(s)
	s.deadLetters = &DeadLetters{store: s}
	s.executions = &Executions{store: s}
	s.ledger = &Ledger{store: s}
	s.pointer = &Pointer{store: s}
	return nil
}

// storedShards reads the number of shards, which is fixed when the store is made, or stores the configured one.
func (s *Store) storedShards() (int, error) {
	v, err := s.get(keyShards())
	if err != nil {
		return 0, fmt.Errorf("number of shards: %w", err)
	}
	if v != nil {
		f := fields{b: v}
		n := int(f.uint())
		if f.err != nil || n < 1 || n > maxShards {
			return 0, fmt.Errorf("number of shards: %w", errCorrupt)
		}
		return n, nil
	}
	b := s.db.NewBatch()
	if err := b.Set(keyShards(), appendUint(nil, uint64(s.cfg.Shards)), nil); err != nil {
		return 0, fmt.Errorf("number of shards: %w", err)
	}
	return s.cfg.Shards, s.commit(b, pebble.Sync, true)
}

// Stream, Index, Leases, Claims, DeadLetters, Ledger and Pointer are the parts of the store, each the only one.
func (s *Store) Stream() *Stream { return s.stream }

// Index is the lookup table with the checkpoints of its sink.
func (s *Store) Index() *Index { return s.index }

// Leases shares shards among workers.
func (s *Store) Leases() *Leases { return s.leases }

// Claims remembers requests by Idempotency-Key.
func (s *Store) Claims() *Claims { return s.claims }

// DeadLetters keeps what a sink could not take.
func (s *Store) DeadLetters() *DeadLetters { return s.deadLetters }

// Executions of SQL.
func (s *Store) Executions() *Executions { return s.executions }

// Ledger tells what became of events.
func (s *Store) Ledger() *Ledger { return s.ledger }

// Pointer is the lake's catalog pointer.
func (s *Store) Pointer() *Pointer { return s.pointer }

// Tombstones are those of erased events.
func (s *Store) Tombstones() *Tombstones { return s.tombstones }

// Guard is the check for free space on the data directory's disk.
func (s *Store) Guard() *DiskGuard { return s.guard }

// Err says why the store refuses writes, or nil. See the package comment for what to make of it.
func (s *Store) Err() error {
	if err := s.health.err(); err != nil {
		return err
	}
	return s.itemsHealth.err()
}

// DiskUsage tells how many bytes the files of the state and of the index take on disk.
func (s *Store) DiskUsage() (state, index int64, err error) {
	if err := s.enter(); err != nil {
		return 0, 0, err
	}
	defer s.leave()
	return int64(s.db.Metrics().DiskSpaceUsage()), int64(s.items.Metrics().DiskSpaceUsage()), nil
}

// Prove returns nil once a write of its own is as durable as an ack asks for. It is for a readiness check: Err knows only of
// what failed, not of a disk that hangs.
func (s *Store) Prove(ctx context.Context) error {
	_, err := detach(ctx, s, func() (struct{}, error) {
		if !s.proving.TryLock() {
			return struct{}{}, errors.New("local store: the write of an earlier check has not ended yet")
		}
		defer s.proving.Unlock()
		b := s.db.NewBatch()
		if err := b.Set(keyProof(), nil, nil); err != nil {
			return struct{}{}, errors.Join(err, b.Close())
		}
		return struct{}{}, s.commit(b, pebble.Sync, false)
	})
	return err
}

// Failed is closed when only a restart can help; Err says why.
func (s *Store) Failed() <-chan struct{} { return s.health.failed }

// Close wakes waiting readers, waits for the operations under way, and flushes and closes the database. Operations after
// it return ErrClosed, and so does a second Close.
func (s *Store) Close() error {
	s.wakeAll.Do(func() { close(s.closing) })
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.closed = true
	var errs []error
	// A flush spares the next start the replay of the log, and the index a second reading of the stream. After a failure the
	// log is what a restart needs.
	healthy := s.Err() == nil
	for _, db := range []*pebble.DB{s.items, s.db} {
		if healthy {
			if err := db.Flush(); err != nil {
				errs = append(errs, fmt.Errorf("flushing state: %w", err))
			}
		}
		if err := db.Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing state: %w", err))
		}
	}
	if err := s.dir.Close(); err != nil {
		errs = append(errs, fmt.Errorf("unlocking data directory: %w", err))
	}
	return errors.Join(errs...)
}
