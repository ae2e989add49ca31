package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	resultSuffix  = ".csv"
	partialSuffix = ".part"
)

func (r *Runner) resultPath(id string) string { return filepath.Join(r.cfg.Dir, id+resultSuffix) }

// adoptResults finds the results that an earlier process left, and removes what it did not finish.
func (r *Runner) adoptResults() error {
	if err := os.MkdirAll(r.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("preparing the directory for query results: %w", err)
	}
	if err := syncDir(filepath.Dir(r.cfg.Dir)); err != nil { // or a power cut takes it, with what is in it
		return err
	}
	files, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return fmt.Errorf("looking for query results: %w", err)
	}
	for _, file := range files {
		switch id, isResult := strings.CutSuffix(file.Name(), resultSuffix); {
		case isResult:
			info, err := file.Info()
			if err != nil {
				return fmt.Errorf("looking for query results: %w", err)
			}
			e := &entry{Execution: Execution{ID: id, State: Succeeded, Ended: info.ModTime()}, earlier: true}
			r.entries[id] = e
			r.order = append(r.order, e)
		case strings.HasSuffix(file.Name(), partialSuffix):
			if err := os.Remove(filepath.Join(r.cfg.Dir, file.Name())); err != nil {
				return fmt.Errorf("removing an unfinished query result: %w", err)
			}
		}
	}
	r.expireLocked() // nobody else knows the runner yet
	return nil
}

// Open implements Engine.
func (r *Runner) Open(_ context.Context, id string) (io.ReadCloser, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expireLocked()
	if e := r.entries[id]; e == nil || e.State != Succeeded {
		return nil, 0, ErrNoResult
	}
	file, err := os.Open(r.resultPath(id))
	if err != nil {
		return nil, 0, fmt.Errorf("opening the result of query %s: %w", id, err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("opening the result of query %s: %w", id, errors.Join(err, file.Close()))
	}
	return file, info.Size(), nil
}

// errFull: the disk has no room for a result.
var errFull = errors.New("no room for the result")

// resultFile is a result on its way to disk, up to a limit.
type resultFile struct {
	file        *os.File
	size, limit int64
	admit       func(bytes int64) error
	err         error // the first error, which stands above what an engine makes of it
}

func (r *Runner) createResult(id string) (*resultFile, error) {
	file, err := os.OpenFile(strings.TrimSuffix(r.resultPath(id), resultSuffix)+partialSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("creating the result: %w", err)
	}
	return &resultFile{file: file, limit: r.cfg.MaxResultBytes, admit: r.cfg.Admit}, nil
}

// Write implements io.Writer. After its first error it writes nothing more.
func (f *resultFile) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	if int64(len(p)) > f.limit-f.size {
		f.err = fmt.Errorf("%w: the result is larger than %d bytes; select fewer rows or columns", ErrLimit, f.limit)
		return 0, f.err
	}
	if err := f.admit(int64(len(p))); err != nil {
		f.err = fmt.Errorf("%w: %w", errFull, err)
		return 0, f.err
	}
	n, err := f.file.Write(p)
	f.size += int64(n)
	if err != nil {
		f.err = fmt.Errorf("writing the result: %w", err)
	}
	return n, f.err
}

// finish closes the file and gives it its name or, if anything went wrong, removes it. err is how the run ended.
func (f *resultFile) finish(err error) error {
	if f.err != nil {
		err = f.err
	}
	if err == nil {
		err = f.keep()
	} else {
		_ = f.file.Close() // it is removed
	}
	if err == nil {
		return nil
	}
	if removeErr := os.Remove(f.file.Name()); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

// keep makes the result durable: once an execution is said to have succeeded, a power cut must not take it.
func (f *resultFile) keep() error {
	if err := errors.Join(f.file.Sync(), f.file.Close()); err != nil {
		return fmt.Errorf("storing the result: %w", err)
	}
	path := strings.TrimSuffix(f.file.Name(), partialSuffix) + resultSuffix
	if err := os.Rename(f.file.Name(), path); err != nil {
		return fmt.Errorf("storing the result: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("storing the result: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("storing the result: %w", err)
	}
	return nil
}

// expireRegularly frees the results that have lived long enough, also when nobody asks any more.
func (r *Runner) expireRegularly() {
	tick := time.NewTicker(max(r.cfg.ResultTTL/4, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-r.life.Done():
			return
		case <-tick.C:
			r.mu.Lock()
			r.expireLocked()
			r.mu.Unlock()
		}
	}
}

// expireLocked forgets the executions that finished longer than ResultTTL ago. r.mu is held.
func (r *Runner) expireLocked() {
	oldest := r.cfg.Now().Add(-r.cfg.ResultTTL)
	for i := 0; i < len(r.order); {
		if e := r.order[i]; e.State.Finished() && !e.Ended.After(oldest) {
			r.forget(i)
		} else {
			i++
		}
	}
}

// forgetFirstFinished makes room. There is always a finished one, since those unfinished are fewer than MaxExecutions.
// r.mu is held.
func (r *Runner) forgetFirstFinished() {
	first := -1
	for i, e := range r.order {
		if e.State.Finished() && (first < 0 || e.Ended.Before(r.order[first].Ended)) {
			first = i
		}
	}
	r.forget(first)
}

// forget removes an execution and its result. r.mu is held.
func (r *Runner) forget(i int) {
	e := r.order[i]
	r.order = slices.Delete(r.order, i, i+1)
	delete(r.entries, e.ID)
	delete(r.tokens, e.token) // of an earlier process's there is none
	if e.State != Succeeded {
		return
	}
	if err := os.Remove(r.resultPath(e.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.cfg.Logger.Error("old query result stays on disk", slog.String("execution", e.ID), slog.Any("error", err))
	}
}
