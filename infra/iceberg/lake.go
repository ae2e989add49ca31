package iceberg

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/iceberg-go/table"

	"penstock/consumer"
)

var _ consumer.Lake = (*Lake)(nil)

// Config is what a Lake needs. Every field is required.
type Config struct {
	// Files and Pointer are of this table alone.
	Files   Files
	Pointer Pointer
	// Admit returns an error when the disk has no room for so many bytes of data files.
	Admit  func(bytes int64) error
	Logger *slog.Logger
}

// Lake is the table penstock.events. Any number of Lakes, in any number of processes that share its files and its
// pointer, may write to it at once. It owns no goroutine and needs no closing.
type Lake struct {
	files   *FileIO
	catalog *catalog
	arrow   *arrow.Schema
	admit   func(bytes int64) error
	log     *slog.Logger

	// commits lets one commit of this process at a time go on: they would only make each other start again.
	commits   chan struct{}
	turns     turns // the slot holder's
	overtaken atomic.Uint64
	live      liveFiles
}

// Open opens the table, and creates it if there is none.
func Open(ctx context.Context, cfg Config) (*Lake, error) {
	switch {
	case cfg.Files == nil:
		return nil, errors.New("open lake: Files is missing")
	case cfg.Pointer == nil:
		return nil, errors.New("open lake: Pointer is missing")
	case cfg.Admit == nil:
		return nil, errors.New("open lake: Admit is missing")
	case cfg.Logger == nil:
		return nil, errors.New("open lake: Logger is missing")
	}
	files := &FileIO{Files: cfg.Files}
	l := &Lake{
		files:   files,
		catalog: &catalog{files: files, pointer: cfg.Pointer, log: cfg.Logger},
		admit:   cfg.Admit,
		log:     cfg.Logger,
		commits: make(chan struct{}, 1),
		live:    liveFiles{files: files},
	}
	t, err := l.loadOrCreate(ctx)
	if err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	if err := checkTable(t.Metadata()); err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	if err := l.setArrowSchema(); err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	return l, nil
}

func (l *Lake) loadOrCreate(ctx context.Context) (*table.Table, error) {
	location, err := l.catalog.pointer.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the lake table's pointer: %w", err)
	}
	if location == "" {
		if err := l.catalog.create(ctx); err != nil {
			return nil, err
		}
	} else if err := l.files.Adopt(dirOf(dirOf(location))); err != nil { // <table>/metadata/<file>
		return nil, err
	}
	t, err := l.catalog.LoadTable(ctx, tableIdent())
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the pointer names a table that is not in %s; "+
			"was it restored in part?", err, l.files.Location())
	}
	return t, err
}

func (l *Lake) setArrowSchema() error {
	schema, err := eventSchema()
	if err != nil {
		return err
	}
	if l.arrow, err = table.SchemaToArrowSchema(schema, nil, true, false); err != nil {
		return fmt.Errorf("arrow schema of the events table: %w", err)
	}
	return checkColumns(l.arrow)
}

// Offsets implements consumer.Lake.
func (l *Lake) Offsets(ctx context.Context) (map[string]consumer.Checkpoint, error) {
	t, err := l.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return nil, err
	}
	return tableOffsets(t.Metadata())
}
