package iceberg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
)

var _ table.CatalogIO = (*catalog)(nil)

// catalog is what iceberg-go needs of an Iceberg catalog, for one table behind a Pointer.
type catalog struct {
	files   *FileIO
	pointer Pointer
	log     *slog.Logger

	mu sync.Mutex
	// latest is the version that was last loaded or committed here, to spare reading it again. Its metadata is always one
	// that was parsed: what iceberg-go builds for a commit holds on to the version before it, and so to all of them.
	latest *table.Table
	// others is when a version was last loaded that another process had committed.
	others time.Time
}

var (
	// errMissing: the pointer's metadata file is not there.
	errMissing = errors.New("table metadata file is missing")
	// errInDoubt: a commit landed, or did not, or may yet land.
	errInDoubt = errors.New("the commit is in doubt")
)

// LoadTable returns the current version of the table; iofs.ErrNotExist when there is none.
func (c *catalog) LoadTable(ctx context.Context, _ table.Identifier) (*table.Table, error) {
	location, err := c.pointer.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the lake table's pointer: %w", err)
	}
	for {
		if location == "" {
			return nil, fmt.Errorf("lake table: %w", iofs.ErrNotExist)
		}
		t, err := c.read(location)
		if !errors.Is(err, errMissing) {
			return t, err
		}
		// Old versions are removed; between Load and here the table may have moved on far enough.
		now, loadErr := c.pointer.Load(ctx)
		if loadErr != nil {
			return nil, fmt.Errorf("load the lake table's pointer: %w", loadErr)
		}
		if now == location {
			return nil, err
		}
		location = now
	}
}

// read returns the version at location.
func (c *catalog) read(location string) (*table.Table, error) {
	now := time.Now()
	c.mu.Lock()
	latest := c.latest
	c.mu.Unlock()
	if latest != nil && latest.MetadataLocation() == location && !inFuture(latest.Metadata().LastUpdatedMillis(), now) {
		return latest, nil
	}
	data, err := c.files.ReadFile(location)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errMissing, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the lake table's metadata: %w", err)
	}
	if data, err = clampFuture(data, now); err != nil {
		return nil, fmt.Errorf("parse %s: %w", location, err)
	}
	meta, err := table.ParseMetadataBytes(data)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", location, err)
	}
	if latest != nil && latest.MetadataLocation() != location {
		c.mu.Lock()
		c.others = now
		c.mu.Unlock()
	}
	return c.keep(meta, location), nil
}

// shared reports whether other processes commit to the table, too.
func (c *catalog) shared() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.others.IsZero() && time.Since(c.others) < company
}

// keep makes a table of a version and remembers it.
func (c *catalog) keep(meta table.Metadata, location string) *table.Table {
	t := table.New(tableIdent(), meta, location, c.io, c)
	c.mu.Lock()
	c.latest = t
	c.mu.Unlock()
	return t
}

func (c *catalog) io(context.Context) (icebergio.IO, error) { return c.files, nil }

// CommitTable makes a new version of the table if the requirements hold for the current one, and swaps the pointer.
// A requirement that does not hold, or a pointer that moved meanwhile, is table.ErrCommitFailed. Nothing was committed
// unless the error is errInDoubt.
func (c *catalog) CommitTable(
	ctx context.Context, ident table.Identifier, requirements []table.Requirement, updates []table.Update,
) (table.Metadata, string, error) {
	base, err := c.LoadTable(ctx, ident)
	if err != nil {
		return nil, "", err
	}
	for _, r := range requirements {
		if err := r.Validate(base.Metadata()); err != nil {
			return nil, "", fmt.Errorf("%w: %w", table.ErrCommitFailed, err)
		}
	}
	next, err := table.UpdateTableMetadata(base.Metadata(), updates, base.MetadataLocation())
	if err != nil {
		return nil, "", fmt.Errorf("apply updates to the lake table: %w", err)
	}
	version, err := metadataVersion(base.MetadataLocation())
	if err != nil {
		return nil, "", err
	}
	location, written, err := c.write(next, version+1)
	if err != nil {
		return nil, "", err
	}
	swapped, err := c.pointer.Swap(ctx, base.MetadataLocation(), location)
	if err != nil {
		swapped, err = c.settle(ctx, base.MetadataLocation(), location, err)
	}
	if err != nil {
		return nil, "", fmt.Errorf("swap the lake table's pointer: %w", err)
	}
	if !swapped {
		removeFile(c.files, location, c.log)
		return nil, "", fmt.Errorf("%w: another writer committed first", table.ErrCommitFailed)
	}
	c.keep(written, location)
	c.removeOldMetadata(base.Metadata(), next)
	return next, location, nil
}

// settle tells what became of a swap that ended with swapErr, by what the table says (invariant 7): its log names the
// versions before the present one, so it shows whether next came after prev, or something else did. While prev is
// still the present version, or when the log does not reach back to it, the answer is errInDoubt.
func (c *catalog) settle(ctx context.Context, prev, next string, swapErr error) (swapped bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readBackTime)
	defer cancel()
	t, err := c.LoadTable(ctx, tableIdent())
	if err != nil {
		return false, fmt.Errorf("%w: %w", errInDoubt, errors.Join(swapErr, err))
	}
	now, left := t.MetadataLocation(), false
	for e := range t.Metadata().PreviousFiles() {
		left = left || e.MetadataFile == prev
		if e.MetadataFile == next {
			now = next
		}
	}
	switch {
	case now == next:
		return true, nil
	case now != prev && left:
		return false, nil
	default:
		return false, fmt.Errorf("%w: %w", errInDoubt, swapErr)
	}
}

// create makes the table unless there is one.
func (c *catalog) create(ctx context.Context) error {
	meta, err := newTableMetadata(c.files.Location())
	if err != nil {
		return fmt.Errorf("define the lake table: %w", err)
	}
	location, _, err := c.write(meta, 0)
	if err != nil {
		return err
	}
	// If it was not swapped somebody else was first, and theirs is the table. After an error either may be.
	if _, err := c.pointer.Swap(ctx, "", location); err != nil {
		if now, loadErr := c.pointer.Load(ctx); loadErr != nil || now == "" {
			return fmt.Errorf("create the lake table: %w", errors.Join(err, loadErr))
		}
	}
	return nil
}

// write stores a version of the metadata, durably, under a name of its own, and returns it as whoever loads it will read it.
func (c *catalog) write(meta table.Metadata, version int) (location string, written table.Metadata, err error) {
	locations, err := table.LoadLocationProvider(meta.Location(), meta.Properties())
	if err != nil {
		return "", nil, fmt.Errorf("lake table location: %w", err)
	}
	if location, err = locations.NewTableMetadataFileLocation(version); err != nil {
		return "", nil, fmt.Errorf("name the lake table's metadata: %w", err)
	}
	data, err := json.Marshal(meta)
	if err != nil {
		return "", nil, fmt.Errorf("encode the lake table's metadata: %w", err)
	}
	if written, err = table.ParseMetadataBytes(data); err != nil {
		return "", nil, fmt.Errorf("the lake table's new metadata can't be read again: %w", err)
	}
	if err := c.files.WriteFile(location, data); err != nil {
		removeFile(c.files, location, c.log)
		return "", nil, fmt.Errorf("write the lake table's metadata: %w", err)
	}
	return location, written, nil
}

// removeOldMetadata removes the metadata files that the new version's log has dropped. It runs only after a commit that
// is known to have landed; those dropped by one of unknown outcome stay.
func (c *catalog) removeOldMetadata(base, next table.Metadata) {
	if !next.Properties().GetBool(table.MetadataDeleteAfterCommitEnabledKey,
		table.MetadataDeleteAfterCommitEnabledDefault) {
		return
	}
	kept := slices.Collect(next.PreviousFiles())
	for old := range base.PreviousFiles() {
		if slices.ContainsFunc(kept, func(e table.MetadataLogEntry) bool { return e.MetadataFile == old.MetadataFile }) {
			continue
		}
		removeFile(c.files, old.MetadataFile, c.log)
	}
}

// metadataVersion reads the number that a metadata file's name begins with: <version>-<uuid>.metadata.json.
func metadataVersion(location string) (int, error) {
	number, _, ok := strings.Cut(path.Base(location), "-")
	version, err := strconv.Atoi(number)
	if !ok || err != nil || version < 0 {
		return 0, fmt.Errorf("%s: not the name of a table metadata file", location)
	}
	return version, nil
}
