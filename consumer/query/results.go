package query

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"
)

func (s *Service) resultPath(id string) string { return filepath.Join(s.cfg.Dir, id+".csv") }

// errFull: the disk has no room for a result.
var errFull = errors.New("no room for the result")

// resultFile is a result on its way to disk, up to a limit.
type resultFile struct {
	file        *os.File
	size, limit int64
	admit       func(bytes int64) error
	err         error // the first error, which stands above what an engine makes of it
}

func (s *Service) createResult(id string) (*resultFile, error) {
	file, err := os.OpenFile(s.resultPath(id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("creating the result: %w", err)
	}
	return &resultFile{file: file, limit: s.cfg.MaxResultBytes, admit: s.cfg.Admit}, nil
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

// finish closes the file and, if anything went wrong, removes it. err is how the run ended; the result is not durable,
// because an execution does not survive its process either.
func (f *resultFile) finish(err error) error {
	if f.err != nil {
		err = f.err
	}
	if closeErr := f.file.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("closing the result: %w", closeErr)
	}
	if err == nil {
		return nil
	}
	if removeErr := os.Remove(f.file.Name()); removeErr != nil {
		err = errors.Join(err, removeErr)
	}
	return err
}

// expireRegularly frees the results that have lived long enough, also when nobody asks any more.
func (s *Service) expireRegularly() {
	tick := time.NewTicker(max(s.cfg.ResultTTL/4, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case <-tick.C:
			s.mu.Lock()
			s.expireLocked()
			s.mu.Unlock()
		}
	}
}

// expireLocked forgets the executions that finished longer than ResultTTL ago. s.mu is held.
func (s *Service) expireLocked() {
	oldest := s.cfg.Now().Add(-s.cfg.ResultTTL)
	for i := 0; i < len(s.order); {
		if e := s.order[i]; e.State.Finished() && !e.Ended.After(oldest) {
			s.forget(i)
		} else {
			i++
		}
	}
}

// forgetFirstFinished makes room. There is always a finished one, since those unfinished are fewer than MaxExecutions.
// s.mu is held.
func (s *Service) forgetFirstFinished() {
	first := -1
	for i, e := range s.order {
		if e.State.Finished() && (first < 0 || e.Ended.Before(s.order[first].Ended)) {
			first = i
		}
	}
	s.forget(first)
}

// forget removes an execution and its result. s.mu is held.
func (s *Service) forget(i int) {
	e := s.order[i]
	s.order = slices.Delete(s.order, i, i+1)
	delete(s.entries, e.ID)
	if e.State != Succeeded {
		return
	}
	if err := os.Remove(s.resultPath(e.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Logger.Error("old query result stays on disk", slog.String("execution", e.ID), slog.Any("error", err))
	}
}
