package local

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"penstock/consumer/query"
)

// SQL runs in a process of its own, a worker. DuckDB's memory limit leaves out the values of the rows in work, some
// thousands at a time, and SQL can make those as long as it likes. The kernel bounds what all that takes; and whatever
// becomes of the worker, the process that acks events goes on.

// workerLimits bound all runs of a worker. They are the first thing that it is told.
type workerLimits struct {
	Memory    int64 // of DuckDB's operators, in bytes
	Threads   int
	Directory string // for spilled data
}

// workerJob is one run, or the check of a statement that may be run later.
type workerJob struct {
	CheckOnly  bool
	Prepare    string // what makes a session of an empty database
	SQL        string // translated and checked
	Start      int    // of the query in SQL, behind EXPLAIN
	Headings   []heading
	Parameters []string
}

// workerAnswer is a part of a run's CSV, or its end.
type workerAnswer struct {
	CSV []byte
	End *workerEnd
}

// workerEnd is how a run ended.
type workerEnd struct {
	Rows, Scanned int64
	Failure       *workerFailure
	// Used: the worker keeps so much memory that it should have no further run.
	Used bool
}

// ServeSQL runs SQL for the process that started this one (DuckDBConfig.Worker) until in ends, and then returns, also while
// something runs: the caller must end the process. in and out are that process's ends of pipes.
func ServeSQL(in io.Reader, out io.Writer) error {
	jobs, answers := gob.NewDecoder(in), gob.NewEncoder(out)
	var limits workerLimits
	if err := jobs.Decode(&limits); err != nil {
		return endOfJobs(err)
	}
	next, failed := make(chan workerJob), make(chan error, 1)
	go func() { failed <- work(limits, next, answers) }()
	for {
		var job workerJob
		if err := jobs.Decode(&job); err != nil {
			return endOfJobs(err)
		}
		select {
		case next <- job:
		case err := <-failed:
			return err
		}
	}
}

func endOfJobs(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("reading what SQL to run: %w", err)
}

// work does one job after the other.
func work(limits workerLimits, jobs <-chan workerJob, answers *gob.Encoder) error {
	bound, err := newMemoryBound()
	if err != nil {
		return err
	}
	w := worker{limits: limits, bound: bound, empty: openAhead(limits)}
	if _, err := w.empty(); err != nil {
		return err
	}
	if err := bound.ready(); err != nil {
		return err
	}
	for {
		if err := bound.lift(); err != nil { // of the last job
			return err
		}
		if w.empty == nil {
			w.empty = openAhead(limits)
		}
		job := <-jobs
		var end workerEnd
		if job.CheckOnly {
			err = w.check(job)
		} else {
			end.Rows, end.Scanned, err = w.run(job, csvChunks{answers})
		}
		end.Failure, end.Used = newWorkerFailure(err), bound.used()
		if err := answers.Encode(workerAnswer{End: &end}); err != nil {
			return fmt.Errorf("telling how SQL ended: %w", err)
		}
	}
}

// worker has a database for the next run, since each has one of its own, and one in which nothing runs, for all checks.
type worker struct {
	limits  workerLimits
	bound   *memoryBound
	empty   func() (*duckdbConn, error)
	checker *duckdbConn
}

// openAhead opens a database beside what the worker does, and the function gives it: that takes 8 ms, which is longer than many
// a query runs.
func openAhead(l workerLimits) func() (*duckdbConn, error) {
	var c *duckdbConn
	var err error
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		c, err = openEmpty(l)
	}()
	return func() (*duckdbConn, error) {
		<-opened
		return c, err
	}
}

func (w *worker) check(job workerJob) error {
	if w.checker == nil {
		checker, err := openEmpty(workerLimits{minMemory, 1, w.limits.Directory})
		if err != nil {
			return errors.New(err.Error()) // no fault of the statement's
		}
		if err := checker.exec(job.Prepare); err != nil {
			checker.close()
			return errors.New("preparing DuckDB: " + err.Error()) // as above
		}
		w.checker = checker
	}
	if err := w.bound.check(); err != nil {
		return err
	}
	c, err := w.checker.share()
	if err != nil {
		return err
	}
	defer c.close()
	prepared, err := job.prepare(c)
	if err != nil {
		return err
	}
	prepared.close()
	return nil
}

// run streams the result as CSV.
func (w *worker) run(job workerJob, result io.Writer) (rows, scanned int64, err error) {
	c, err := w.empty()
	if err != nil { // a check may have left it no memory
		c, err = openEmpty(w.limits)
	}
	if err != nil {
		return 0, 0, errors.New(err.Error()) // no fault of the statement's
	}
	w.empty = nil
	defer c.close()
	if err := w.bound.run(w.limits.Memory); err != nil {
		return 0, 0, err
	}
	return job.run(c, result)
}

// csvChunks sends what is written to it, in parts that don't grow with the rows: whoever gets them has no bound of his own.
type csvChunks struct{ answers *gob.Encoder }

func (c csvChunks) Write(p []byte) (n int, err error) {
	for part := range slices.Chunk(p, csvFlushAt) {
		if err := c.answers.Encode(workerAnswer{CSV: part}); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// prepare parses and binds the statement.
func (j *workerJob) prepare(c *duckdbConn) (*duckdbStatement, error) {
	prepared, err := c.prepareQuery(j.SQL, j.Start)
	if err != nil {
		return nil, err
	}
	if want := prepared.parameters(); want != len(j.Parameters) {
		prepared.close()
		return nil, refuseSQL("the statement has %d parameter(s), %d given", want, len(j.Parameters))
	}
	return prepared, nil
}

// run runs the statement on an empty database.
func (j *workerJob) run(c *duckdbConn, result io.Writer) (rows, scanned int64, err error) {
	if err := c.exec(j.Prepare); err != nil {
		return 0, 0, errors.New("preparing DuckDB: " + err.Error()) // no fault of the statement's
	}
	prepared, err := j.prepare(c)
	if err != nil {
		return 0, 0, err
	}
	defer prepared.close()
	if err := prepared.bind(j.Parameters); err != nil {
		return 0, 0, err
	}
	running, err := prepared.stream()
	if err != nil {
		return 0, 0, err
	}
	csv := csvWriter{out: result}
	err = csv.copy(running, j.Headings)
	running.close()
	return csv.rows, c.bytesRead(), err
}

// workerFailure is an error on its way between processes.
type workerFailure struct {
	DuckDB string // as DuckDB words it
	Kind   failureKind
	Text   string
}

type failureKind int

const (
	failureInternal failureKind = iota
	failureStatement
	failureLimit
)

// failureSentinels are the errors that a kind stands for.
var failureSentinels = map[failureKind]error{failureStatement: query.ErrStatement, failureLimit: query.ErrLimit}

func newWorkerFailure(err error) *workerFailure {
	var native *duckdbError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &native):
		return &workerFailure{DuckDB: native.shortened().raw}
	}
	for kind, sentinel := range failureSentinels {
		if errors.Is(err, sentinel) {
			return &workerFailure{Kind: kind, Text: strings.TrimPrefix(err.Error(), sentinel.Error())}
		}
	}
	return &workerFailure{Text: err.Error()}
}

// spoils reports whether the worker may be the worse for it.
func (f *workerFailure) spoils() bool {
	switch {
	case f == nil:
		return false
	case f.DuckDB != "":
		return !parseDuckDBReport(f.DuckDB).ofStatement()
	}
	return f.Kind == failureInternal
}

func (f *workerFailure) err() error {
	switch {
	case f == nil:
		return nil
	case f.DuckDB != "":
		return &duckdbError{f.DuckDB}
	case f.Kind != failureInternal:
		return fmt.Errorf("%w%s", failureSentinels[f.Kind], f.Text)
	}
	return errors.New(f.Text)
}
