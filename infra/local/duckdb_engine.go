package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"penstock/consumer/query"
)

// LakeFiles knows which files make up the lake table.
type LakeFiles interface {
	// Files returns the absolute paths of the live Parquet files of the table's current snapshot. They stay readable for
	// as long as a query may run.
	Files(ctx context.Context) ([]string, error)
}

// DuckDBConfig bounds a DuckDB engine. All fields are required. The limits are those of one run: whoever allows n runs
// at once allows n times as much.
type DuckDBConfig struct {
	// TempDir is a directory of the engine's own, on disk, into which queries spill.
	TempDir string
	// MaxTemp is the most that one run may spill, in bytes.
	MaxTemp int64
	// Room is how many bytes of disk there are for a run that starts now to spill.
	Room func() (int64, error)
	// MemoryLimit is the memory of one run's operators, in bytes; at least 64 MiB. On Linux all that a run takes is bounded,
	// by twice that and 512 MiB beyond what its process held before.
	MemoryLimit int64
	// Threads of one run; at least 1.
	Threads int
	// Now is the clock.
	Now func() time.Time
	// Worker makes the command of a process that calls ServeSQL on its standard input and output, and then ends.
	Worker func() (*exec.Cmd, error)
}

// DuckDB runs SQL in Athena's dialect, as far as docs/sql.md lists it, over the lake's Parquet files. Its methods are
// safe for concurrent use.
type DuckDB struct {
	cfg    DuckDBConfig
	table  LakeFiles
	macros macroLibrary
	// parser is a session in which statements are parsed and neither bound nor run: binding folds constants, which takes as
	// much memory as they like.
	parser *duckdbConn
	// checking is the script that makes a session for checks.
	checking  string
	checks    chan struct{} // the places of those under way
	growth    map[string]macroGrowth
	dirs      atomic.Uint64
	processes sqlProcesses
}

var _ query.SQL = (*DuckDB)(nil)

const minMemory = 64 << 20

const (
	// maxChecks is how many statements are parsed or checked at once.
	maxChecks = 2
	// maxCheck is how long binding one may take: maxGrowth bounds all but its constants.
	maxCheck = 10 * time.Second
)

// NewDuckDB makes an engine over the table. Close it when no method runs any more.
func NewDuckDB(cfg DuckDBConfig, table LakeFiles) (*DuckDB, error) {
	switch {
	case cfg.MemoryLimit < minMemory:
		return nil, fmt.Errorf("DuckDB memory limit of %d bytes: at least %d are needed", cfg.MemoryLimit, minMemory)
	case cfg.MaxTemp < 0:
		return nil, fmt.Errorf("DuckDB temporary space of %d bytes: must not be negative", cfg.MaxTemp)
	case cfg.Threads < 1:
		return nil, fmt.Errorf("DuckDB with %d threads: at least 1 is needed", cfg.Threads)
	case cfg.TempDir == "" || cfg.Room == nil || cfg.Now == nil || cfg.Worker == nil:
		return nil, errors.New("DuckDB needs a temporary directory, its room, a clock and a worker")
	}
	if err := os.MkdirAll(cfg.TempDir, 0o700); err != nil {
		return nil, fmt.Errorf("preparing DuckDB's temporary directory: %w", err)
	}
	macros, err := parseMacros(macrosSQL)
	if err != nil {
		return nil, err
	}
	d := &DuckDB{cfg: cfg, table: table, macros: macros, checks: make(chan struct{}, maxChecks)}
	d.parser, err = openEmpty(workerLimits{minMemory, 1, d.nextTempDir()})
	if err != nil {
		return nil, err
	}
	// Nothing will run, so nothing need be optimised.
	d.checking = "PRAGMA disable_optimizer;\n" + sessionScript(macros.script(""), nil, 0)
	if err := d.parser.exec(d.checking); err != nil {
		d.parser.close()
		return nil, fmt.Errorf("preparing DuckDB: %w", err)
	}
	if d.growth, err = d.parser.macroGrowth(); err != nil {
		d.parser.close()
		return nil, fmt.Errorf("reading DuckDB's macros: %w", err)
	}
	d.processes.start = func() (*sqlProcess, error) {
		cmd, err := d.cfg.Worker()
		if err != nil {
			return nil, err
		}
		return startSQLProcess(cmd, workerLimits{cfg.MemoryLimit, cfg.Threads, d.nextTempDir()})
	}
	return d, nil
}

// Close frees the engine. It waits for checks under way.
func (d *DuckDB) Close() {
	for range maxChecks {
		d.checks <- struct{}{}
	}
	d.processes.close()
	d.parser.close()
}

// nextTempDir names a directory that DuckDB makes once it spills.
func (d *DuckDB) nextTempDir() string {
	return filepath.Join(d.cfg.TempDir, "run-"+strconv.FormatUint(d.dirs.Add(1), 10))
}

// Check implements query.SQL. It parses and binds the statement against an empty table, and compares the number of
// parameters.
func (d *DuckDB) Check(ctx context.Context, sql string, parameters []string) error {
	leave, err := d.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeoutCause(ctx, maxCheck, refuseSQL("the statement takes longer than %v to prepare", maxCheck))
	defer cancel()
	s, err := d.parse(sql)
	if err != nil {
		return err
	}
	end, err := d.work(ctx, workerJob{Prepare: d.checking, SQL: s.text, Start: s.start, Parameters: parameters, CheckOnly: true}, nil)
	if err == nil {
		err = end.Failure.err()
	}
	return firstOf(ctx, s.explain(err, "", d.secrets(nil)))
}

// enter waits for a place among those that parse.
func (d *DuckDB) enter(ctx context.Context) (leave func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case d.checks <- struct{}{}:
		return func() { <-d.checks }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// parse translates a statement and refuses what may not run. It does not bind it.
func (d *DuckDB) parse(sql string) (*sqlStatement, error) {
	c, err := d.parser.share()
	if err != nil {
		return nil, err
	}
	defer c.close()
	return newStatement(sql, d.growth, c.serialize)
}

// prepareQuery prepares a statement that DuckDB itself takes for a query, or for an EXPLAIN of what it takes for one: it
// is asked about the explained part, which starts at start, alone as well, since EXPLAIN ANALYZE runs it, whatever it is.
func (c *duckdbConn) prepareQuery(sql string, start int) (*duckdbStatement, error) {
	prepared, err := c.prepare(sql)
	if err != nil {
		return nil, err
	}
	reads := prepared.isQuery()
	if start > 0 && prepared.isExplain() {
		explained, err := c.prepare(sql[start:])
		if err != nil {
			prepared.close()
			return nil, err
		}
		reads = explained.isQuery()
		explained.close()
	}
	if !reads {
		prepared.close()
		return nil, refuseSQL("only statements that read are allowed")
	}
	return prepared, nil
}

// serialize gives DuckDB's syntax tree of a query as JSON.
func (c *duckdbConn) serialize(sql string) ([]byte, error) {
	return c.value("SELECT CAST(system.main.json_serialize_sql(CAST(? AS VARCHAR)) AS VARCHAR)", sql)
}

func (c *duckdbConn) macroGrowth() (map[string]macroGrowth, error) {
	list, err := c.value("SELECT CAST(to_json(list({'name': function_name, 'parameters': parameters, " +
		"'definition': macro_definition})) AS VARCHAR) FROM duckdb_functions() WHERE function_type = 'macro'")
	if err != nil {
		return nil, err
	}
	var bodies []macroBody
	if err := json.Unmarshal(list, &bodies); err != nil {
		return nil, err
	}
	return measureMacros(bodies), nil
}

// value is the one value, a text, that a query gives.
func (c *duckdbConn) value(sql string, parameters ...string) ([]byte, error) {
	prepared, err := c.prepare(sql)
	if err != nil {
		return nil, err
	}
	defer prepared.close()
	if err := prepared.bind(parameters); err != nil {
		return nil, err
	}
	rows, err := prepared.stream()
	if err != nil {
		return nil, err
	}
	defer rows.close()
	var value []byte
	_, types, err := rows.columns()
	if err != nil {
		return nil, err
	}
	err = rows.each(types, func(columns []duckdbVector, n int) error {
		if n > 0 {
			value = bytes.Clone(bytesAt(&columns[0], 0))
		}
		return nil
	})
	return value, err
}

// firstOf prefers the end of ctx over the error that it brought about.
func firstOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Run implements query.SQL. An error of result's Write ends the run and is returned as it is. ScannedBytes are
// those read from files.
func (d *DuckDB) Run(ctx context.Context, sql string, parameters []string, result io.Writer) (query.Statistics, error) {
	start := d.cfg.Now()
	leave, err := d.enter(ctx)
	if err != nil {
		return query.Statistics{}, err
	}
	s, err := d.parse(sql)
	leave()
	if err != nil {
		return query.Statistics{}, err
	}
	files, err := d.table.Files(ctx)
	if err != nil {
		return query.Statistics{}, fmt.Errorf("listing the lake's files: %w", err)
	}
	room, err := d.cfg.Room()
	if err != nil {
		return query.Statistics{}, err
	}
	temp := min(d.cfg.MaxTemp, room)
	end, err := d.work(ctx, workerJob{
		Prepare: sessionScript(d.macros.script(s.text), files, temp), SQL: s.text,
		Start: s.start, Headings: s.headings, Parameters: parameters,
	}, result)
	statistics := query.Statistics{Rows: end.Rows, ScannedBytes: end.Scanned, Elapsed: d.cfg.Now().Sub(start)}
	if err == nil {
		err = end.Failure.err()
	}
	if err != nil {
		limits := fmt.Sprintf("%d and %d MiB", d.cfg.MemoryLimit>>20, temp>>20)
		return statistics, firstOf(ctx, s.explain(err, limits, d.secrets(files)))
	}
	return statistics, nil
}

// work has a worker do the job.
func (d *DuckDB) work(ctx context.Context, job workerJob, result io.Writer) (workerEnd, error) {
	p, err := d.processes.take()
	if err != nil {
		return workerEnd{}, err
	}
	end, err := p.run(ctx, job, result)
	again := err == nil && !end.Used && !end.Failure.spoils()
	if !again {
		p.close()
	}
	removeErr := os.RemoveAll(p.limits.Directory)
	if again {
		d.processes.putBack(p)
	}
	if err == nil && removeErr != nil {
		err = fmt.Errorf("removing spilled data: %w", removeErr)
	}
	return end, err
}

// secrets are the directories that no message to a client may name.
func (d *DuckDB) secrets(files []string) []string {
	secrets := []string{d.cfg.TempDir}
	for _, file := range files {
		if dir := filepath.Dir(file); dir != secrets[len(secrets)-1] {
			secrets = append(secrets, dir)
		}
	}
	return secrets
}
