package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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
	// MemoryLimit is the memory of one run's operators, in bytes; at least 64 MiB.
	MemoryLimit int64
	// Threads of one run; at least 1.
	Threads int
	// Now is the clock.
	Now func() time.Time
}

// DuckDB runs SQL in Athena's dialect, as far as docs/sql.md lists it, over the lake's Parquet files. Its methods are
// safe for concurrent use.
type DuckDB struct {
	cfg    DuckDBConfig
	table  LakeFiles
	macros macroLibrary
	// checker is a session over an empty table, in which statements are parsed and bound but never run.
	checker *duckdbConn
	// checks are the places of those that use it: binding takes memory that DuckDB doesn't count.
	checks chan struct{}
	growth map[string]macroGrowth
	runs   atomic.Uint64
	spare  spare
}

var _ query.SQL = (*DuckDB)(nil)

const minMemory = 64 << 20

// maxChecks is how many statements are checked at once. None takes long (maxGrowth).
const maxChecks = 2

// NewDuckDB makes an engine over the table. Close it when no method runs any more.
func NewDuckDB(cfg DuckDBConfig, table LakeFiles) (*DuckDB, error) {
	switch {
	case cfg.MemoryLimit < minMemory:
		return nil, fmt.Errorf("DuckDB memory limit of %d bytes: at least %d are needed", cfg.MemoryLimit, minMemory)
	case cfg.MaxTemp < 0:
		return nil, fmt.Errorf("DuckDB temporary space of %d bytes: must not be negative", cfg.MaxTemp)
	case cfg.Threads < 1:
		return nil, fmt.Errorf("DuckDB with %d threads: at least 1 is needed", cfg.Threads)
	case cfg.TempDir == "" || cfg.Room == nil || cfg.Now == nil:
		return nil, errors.New("DuckDB needs a temporary directory, its room and a clock")
	}
	if err := os.MkdirAll(cfg.TempDir, 0o700); err != nil {
		return nil, fmt.Errorf("preparing DuckDB's temporary directory: %w", err)
	}
	macros, err := parseMacros(macrosSQL)
	if err != nil {
		return nil, err
	}
	d := &DuckDB{cfg: cfg, table: table, macros: macros, checks: make(chan struct{}, maxChecks)}
	checking := sessionLimits{memory: minMemory, threads: 1, directory: d.nextTempDir(), bindOnly: true}
	d.checker, err = openSession(checking, macros, "", nil)
	if err != nil {
		return nil, err
	}
	if d.growth, err = d.checker.macroGrowth(); err != nil {
		d.checker.close()
		return nil, fmt.Errorf("reading DuckDB's macros: %w", err)
	}
	d.spare.open = func() (*emptyDB, error) {
		limits := sessionLimits{memory: cfg.MemoryLimit, threads: cfg.Threads, directory: d.nextTempDir()}
		c, err := openEmpty(limits)
		return &emptyDB{c, limits}, err
	}
	d.spare.refill()
	return d, nil
}

// Close frees the engine.
func (d *DuckDB) Close() {
	d.spare.close()
	d.checker.close()
}

// nextTempDir names a directory that DuckDB makes once it spills.
func (d *DuckDB) nextTempDir() string {
	return filepath.Join(d.cfg.TempDir, "run-"+strconv.FormatUint(d.runs.Add(1), 10))
}

// Check implements query.SQL. It parses and binds the statement against an empty table, and compares the number of
// parameters.
func (d *DuckDB) Check(ctx context.Context, sql string, parameters []string) error {
	_, err := d.check(ctx, sql, parameters)
	return err
}

func (d *DuckDB) check(ctx context.Context, sql string, parameters []string) (*sqlStatement, error) {
	select {
	case d.checks <- struct{}{}:
		defer func() { <-d.checks }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c, err := d.checker.share()
	if err != nil {
		return nil, err
	}
	defer c.close()
	defer c.interruptWhenDone(ctx)()

	s, err := newStatement(sql, d.growth, c.serialize)
	if err != nil {
		return nil, firstOf(ctx, err)
	}
	prepared, err := c.prepareQuery(s)
	if err != nil {
		return nil, firstOf(ctx, s.explain(err, "", nil))
	}
	defer prepared.close()
	if want := prepared.parameters(); want != len(parameters) {
		return nil, refuseSQL("the statement has %d parameter(s), %d given", want, len(parameters))
	}
	return s, nil
}

// prepareQuery prepares a statement that DuckDB itself takes for a query, or for an EXPLAIN of what it takes for one: it
// is asked about the explained part alone as well, since EXPLAIN ANALYZE runs it, whatever it is.
func (c *duckdbConn) prepareQuery(s *sqlStatement) (*duckdbStatement, error) {
	prepared, err := c.prepare(s.text)
	if err != nil {
		return nil, err
	}
	reads := prepared.isQuery()
	if s.start > 0 && prepared.isExplain() {
		explained, err := c.prepare(s.text[s.start:])
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
	s, err := d.check(ctx, sql, parameters)
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
	db, err := d.spare.take()
	if err != nil {
		return query.Statistics{}, err
	}
	defer d.spare.refill()
	c, run := db.conn, db.limits
	run.temp = min(d.cfg.MaxTemp, room)
	if err := c.become(run, d.macros, s.text, files); err != nil {
		c.close()
		return query.Statistics{}, err
	}
	rows, scanned, err := s.run(ctx, c, parameters, result)
	c.close()
	if removeErr := os.RemoveAll(run.directory); err == nil && removeErr != nil {
		err = fmt.Errorf("removing spilled data: %w", removeErr)
	}
	statistics := query.Statistics{Rows: rows, ScannedBytes: scanned, Elapsed: d.cfg.Now().Sub(start)}
	if err != nil {
		return statistics, firstOf(ctx, s.explain(err, run.String(), d.secrets(files)))
	}
	return statistics, nil
}

// run streams the statement's result as CSV.
func (s *sqlStatement) run(
	ctx context.Context, c *duckdbConn, parameters []string, result io.Writer,
) (rows, scanned int64, err error) {
	defer c.interruptWhenDone(ctx)()
	prepared, err := c.prepareQuery(s)
	if err != nil {
		return 0, 0, err
	}
	defer prepared.close()
	if err := prepared.bind(parameters); err != nil {
		return 0, 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	running, err := prepared.stream()
	if err != nil {
		return 0, 0, err
	}
	csv := csvWriter{out: result}
	err = csv.copy(running, s.headings)
	running.close()
	return csv.rows, c.bytesRead(), err
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
