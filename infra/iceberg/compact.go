package iceberg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/parquet/file"
	icebergo "github.com/apache/iceberg-go"
	"github.com/google/uuid"

	"penstock/schemas"
)

const (
	// mergeFiles is how many small files of about one size an open day gathers before they become one. Each row is then
	// written anew as often as its day's data doubles, and an open day has a few dozen files at most.
	mergeFiles = 8
	// mergeMemory bounds the memory of a merge's inputs.
	mergeMemory = 192 << 20
	// mostUnreadable files are left alone. When there are more, it isn't the files.
	mostUnreadable = 16
)

// Compaction is what compacting did.
type Compaction struct {
	// Groups is how many times some files of one day became one or two.
	Groups int
	// FilesBefore and BytesBefore are of the files that were replaced, FilesAfter and BytesAfter of those in their place.
	FilesBefore, FilesAfter, BytesBefore, BytesAfter int64
}

func (c *Compaction) add(other Compaction) {
	c.Groups += other.Groups
	c.FilesBefore += other.FilesBefore
	c.FilesAfter += other.FilesAfter
	c.BytesBefore += other.BytesBefore
	c.BytesAfter += other.BytesAfter
}

// Compact rewrites small data files into larger ones, a group of files at a time, until none is left to gain from. A
// closed day, one before today, ends with files near the target size; the open one is compacted in steps. progress, if
// any, is called after each group.
func (u *Upkeep) Compact(ctx context.Context, progress func(Compaction)) (Compaction, error) {
	total, err := u.compact(ctx, progress)
	if err != nil {
		err = fmt.Errorf("compact the lake: %w", err)
	}
	u.noteError(err)
	return total, err
}

func (u *Upkeep) compact(ctx context.Context, progress func(Compaction)) (total Compaction, err error) {
	// Each group leaves fewer files; what comes meanwhile is for the next time, or it might never end.
	most, err := u.lake.Files(ctx)
	if err != nil {
		return total, err
	}
	skip := make(map[string]struct{}) // files that somebody else came before, or that can't be read
	var failed error
	bad := 0
	for range most {
		group, did, err := u.compactNext(ctx, skip)
		unreadable := new(unreadableError)
		switch {
		case errors.Is(err, errInputsGone):
			u.cfg.Logger.Info("compaction was for nothing: the files were replaced meanwhile", "files", len(group))
			for _, df := range group {
				skip[df.FilePath()] = struct{}{}
			}
			continue
		case errors.As(err, &unreadable) && ctx.Err() == nil: // it must not keep the others from being compacted
			failed = errors.Join(failed, err)
			skip[unreadable.name] = struct{}{}
			if bad++; bad == mostUnreadable {
				return total, failed
			}
			continue
		case err != nil || group == nil:
			return total, errors.Join(failed, err)
		}
		total.add(did)
		u.note(func(s *UpkeepStats) {
			s.FilesCompacted += uint64(did.FilesBefore)
			s.LastCompaction = u.cfg.Now()
		})
		if progress != nil {
			progress(total)
		}
	}
	return total, failed
}

// compactNext compacts one group when it is its turn; others come in between groups. No group: there is none left.
func (u *Upkeep) compactNext(ctx context.Context, skip map[string]struct{}) ([]icebergo.DataFile, Compaction, error) {
	release, err := u.take(ctx)
	if err != nil {
		return nil, Compaction{}, err
	}
	defer release()
	group, err := u.nextGroup(ctx, skip)
	if err != nil || group == nil {
		return nil, Compaction{}, err
	}
	did, err := u.compactGroup(ctx, group)
	return group, did, err
}

// compactGroup rewrites the group once and then puts the result in its place.
func (u *Upkeep) compactGroup(ctx context.Context, group []icebergo.DataFile) (Compaction, error) {
	defer u.lake.files.hold()() // from the orphan sweep of another Upkeep
	began := time.Now()
	u.paced = began
	did := Compaction{Groups: 1, FilesBefore: int64(len(group))}
	for _, df := range group {
		did.BytesBefore += df.FileSizeBytes()
	}
	if err := u.cfg.Room(did.BytesBefore); err != nil {
		return Compaction{}, err
	}
	t, err := u.lake.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return Compaction{}, err
	}
	files, _, err := u.lake.rewrite(ctx, t, group, nil, u.pace)
	if err != nil {
		return Compaction{}, err
	}
	if err := sameRows(group, files); err != nil {
		return Compaction{}, err
	}
	r := &replacing{lake: u.lake, id: uuid.NewString(), old: group, new: files, began: began}
	if err := r.commit(ctx); err != nil {
		return Compaction{}, err
	}
	did.FilesAfter = int64(len(files))
	for _, df := range files {
		did.BytesAfter += df.FileSizeBytes()
	}
	return did, nil
}

// sameRows is a last look before files are replaced for good.
func sameRows(before, after []icebergo.DataFile) error {
	rows := int64(0)
	for _, df := range before {
		rows += df.Count()
	}
	for _, df := range after {
		rows -= df.Count()
	}
	if rows != 0 {
		return fmt.Errorf("the rewritten files have %d rows too few; nothing was changed", rows)
	}
	return nil
}

// nextGroup chooses the files to rewrite next, nil when there are none. Files in skip are left alone.
func (u *Upkeep) nextGroup(ctx context.Context, skip map[string]struct{}) ([]icebergo.DataFile, error) {
	t, err := u.lake.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return nil, err
	}
	live, err := u.lake.liveDataFiles(t)
	if err != nil {
		return nil, err
	}
	today, spec := day(u.cfg.Now()), t.Spec()
	days := make(map[int64][]icebergo.DataFile)
	for _, df := range live {
		d, ok := df.Partition()[dayPartitionID].(icebergo.Date)
		_, skipped := skip[df.FilePath()]
		if ok && !skipped && df.FileSizeBytes() < u.cfg.TargetBytes/2 && int(df.SpecID()) == spec.ID() {
			days[int64(d)] = append(days[int64(d)], df)
		}
	}
	u.forgetFooters(days)
	// The newest day first: it is the one that is asked for most.
	order := make([]int64, 0, len(days))
	for d := range days {
		order = append(order, d)
	}
	slices.SortFunc(order, func(a, b int64) int { return cmp.Compare(b, a) })
	for _, d := range order {
		closed := d < today
		if least := leastFiles(closed); len(days[d]) < least {
			continue
		}
		small, large, err := u.byFooter(ctx, days[d])
		if err != nil {
			return nil, err
		}
		for _, files := range [][]candidate{small, large} {
			if group := choose(files, closed, u.cfg.TargetBytes); group != nil {
				return group, nil
			}
		}
	}
	return nil, nil
}

func leastFiles(closed bool) int {
	if closed {
		return 2
	}
	return mergeFiles
}

// candidate is a small file with what its footer says.
type candidate struct {
	icebergo.DataFile
	footer
}

// footer is what Parquet says at the end of a file.
type footer struct {
	// large: it is a file of large bodies.
	large bool
	// memory that reading it takes, about.
	memory int64
}

// byFooter splits files into those of small rows and those of large bodies, which are never merged with each other, each
// with the smallest file first.
func (u *Upkeep) byFooter(ctx context.Context, files []icebergo.DataFile) (small, large []candidate, err error) {
	for _, df := range files {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		f, ok := u.footers[df.FilePath()]
		if !ok {
			if f, err = u.lake.readFooter(df.FilePath()); err != nil {
				return nil, nil, &unreadableError{df.FilePath(), err}
			}
			u.footers[df.FilePath()] = f
		}
		if f.large {
			large = append(large, candidate{df, f})
		} else {
			small = append(small, candidate{df, f})
		}
	}
	for _, list := range [][]candidate{small, large} {
		slices.SortFunc(list, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(a.FileSizeBytes(), b.FileSizeBytes()), cmp.Compare(a.FilePath(), b.FilePath()))
		})
	}
	return small, large, nil
}

// forgetFooters drops those of files that are not among the days' any more.
func (u *Upkeep) forgetFooters(days map[int64][]icebergo.DataFile) {
	kept := make(map[string]footer)
	for _, files := range days {
		for _, df := range files {
			if f, ok := u.footers[df.FilePath()]; ok {
				kept[df.FilePath()] = f
			}
		}
	}
	u.footers = kept
}

func (l *Lake) readFooter(name string) (_ footer, err error) {
	f, err := l.files.Open(name)
	if err != nil {
		return footer{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	defer recovered(&err)
	r, err := file.NewParquetReader(f)
	if err != nil {
		return footer{}, err
	}
	meta := r.MetaData()
	body := meta.Schema.ColumnIndexByName("data")
	text, rows, group := int64(0), int64(0), int64(0)
	for g := range r.NumRowGroups() {
		rg := meta.RowGroup(g)
		rows += rg.NumRows()
		group = max(group, rg.TotalByteSize())
		if body >= 0 {
			column, err := rg.ColumnChunk(body)
			if err != nil {
				return footer{}, err
			}
			text += column.TotalUncompressedSize()
		}
	}
	// A file has either only bodies below largeBody or none.
	large := rows > 0 && text/rows >= largeBody
	return footer{large, 2*group + min(rows, sourceRows)*schemas.MaxAttributes + sourceOverhead}, nil
}

// choose takes files of one day and kind, the smallest first, that together fit one file of the target size and the memory
// of a merge. On an open day they are at least mergeFiles, unless they are full before; and one that is larger than all the
// smaller ones together waits for its like, or else every few files would have it written anew.
func choose(files []candidate, closed bool, target int64) []icebergo.DataFile {
	if len(files) < leastFiles(closed) {
		return nil
	}
	var group []icebergo.DataFile
	var bytes, memory int64
	full := false
	for _, f := range files {
		size := f.FileSizeBytes()
		if full = len(group) >= 2 && (bytes+size > target || memory+f.memory > mergeMemory); full {
			break
		}
		if !closed && len(group) >= mergeFiles-1 && size > bytes {
			break
		}
		group = append(group, f.DataFile)
		bytes, memory = bytes+size, memory+f.memory
	}
	if full || len(group) >= leastFiles(closed) {
		return group
	}
	return nil
}

// pace gives way: to commits of rows that are under way, and to clients that wait for an ack.
func (u *Upkeep) pace(ctx context.Context) error {
	worked := min(time.Since(u.paced), longestWork)
	if u.cfg.Busy() || u.lake.files.operations() > 1 { // one is ours
		if err := sleep(ctx, restFactor*worked); err != nil {
			return err
		}
	}
	u.paced = time.Now()
	return ctx.Err()
}

// A rest is restFactor times as long as the work before it, of which at most longestWork counts.
const (
	restFactor  = 4
	longestWork = 250 * time.Millisecond
)
