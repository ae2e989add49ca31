package local

import (
	"errors"
	"fmt"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// This file is the only one that speaks DuckDB's C API (https://duckdb.org/docs/stable/clients/c/api). The API is used
// below the database/sql driver because that driver gathers a whole result in memory before it hands out the first row,
// and decodes JSON columns, which loses the spelling of numbers and the order of keys.

// duckdbError is an error of DuckDB: the JSON form that errors_as_json asks for, or plain text.
type duckdbError struct{ raw string }

func (e *duckdbError) Error() string { return e.raw }

// duckdbConn is one in-memory database with one connection, or one more connection of a shared database.
type duckdbConn struct {
	db   *duckdb.Database // nil when the database is somebody else's
	conn duckdb.Connection
}

// openDuckDB opens an in-memory database of its own with the given settings.
func openDuckDB(settings map[string]string) (*duckdbConn, error) {
	var config duckdb.Config
	if duckdb.CreateConfig(&config) == duckdb.StateError {
		return nil, errors.New("allocating a DuckDB configuration")
	}
	defer duckdb.DestroyConfig(&config)
	for name, value := range settings {
		if duckdb.SetConfig(config, name, value) == duckdb.StateError {
			return nil, fmt.Errorf("DuckDB refuses the setting %s=%q", name, value)
		}
	}
	var db duckdb.Database
	var message string
	if duckdb.OpenExt("", &db, config, &message) == duckdb.StateError {
		duckdb.Close(&db)
		return nil, fmt.Errorf("opening DuckDB: %w", &duckdbError{message})
	}
	c := &duckdbConn{db: &db}
	if duckdb.Connect(db, &c.conn) == duckdb.StateError {
		duckdb.Close(&db)
		return nil, errors.New("connecting to DuckDB")
	}
	return c, nil
}

// share opens another connection to c's database; c must be closed after it.
func (c *duckdbConn) share() (*duckdbConn, error) {
	other := &duckdbConn{}
	if duckdb.Connect(*c.db, &other.conn) == duckdb.StateError {
		return nil, errors.New("connecting to DuckDB")
	}
	return other, nil
}

func (c *duckdbConn) close() {
	duckdb.Disconnect(&c.conn)
	if c.db != nil {
		duckdb.Close(c.db)
	}
}

// exec runs statements that have no result of interest.
func (c *duckdbConn) exec(sql string) error {
	var result duckdb.Result
	defer duckdb.DestroyResult(&result)
	if duckdb.Query(c.conn, sql, &result) == duckdb.StateError {
		return &duckdbError{duckdb.ResultError(&result)}
	}
	return nil
}

// prepare parses and binds the first statement of sql.
func (c *duckdbConn) prepare(sql string) (*duckdbStatement, error) {
	s := &duckdbStatement{}
	if duckdb.Prepare(c.conn, sql, &s.statement) == duckdb.StateError {
		err := &duckdbError{duckdb.PrepareError(s.statement)}
		s.close()
		return nil, err
	}
	return s, nil
}

// duckdbStatement is a prepared statement.
type duckdbStatement struct{ statement duckdb.PreparedStatement }

func (s *duckdbStatement) close() { duckdb.DestroyPrepare(&s.statement) }

// isQuery reports whether DuckDB itself takes the statement for a query.
func (s *duckdbStatement) isQuery() bool {
	return duckdb.PreparedStatementType(s.statement) == duckdb.StatementTypeSelect
}

func (s *duckdbStatement) isExplain() bool {
	return duckdb.PreparedStatementType(s.statement) == duckdb.StatementTypeExplain
}

func (s *duckdbStatement) parameters() int { return int(duckdb.NParams(s.statement)) }

// bind sets the parameters as strings, which DuckDB casts to the type that it inferred.
func (s *duckdbStatement) bind(parameters []string) error {
	for i, p := range parameters {
		if duckdb.BindVarchar(s.statement, duckdb.IdxT(i+1), p) == duckdb.StateError {
			return &duckdbError{duckdb.PrepareError(s.statement)}
		}
	}
	return nil
}

// stream starts the statement. Its rows are computed as they are fetched, so that a large result needs no memory. The
// call is marked as deprecated in the C API, which has no other way yet to run a statement without materialising it.
func (s *duckdbStatement) stream() (*duckdbRows, error) {
	var pending duckdb.PendingResult
	state := duckdb.PendingPreparedStreaming(s.statement, &pending)
	defer duckdb.DestroyPending(&pending)
	if state == duckdb.StateError {
		return nil, &duckdbError{duckdb.PendingError(pending)}
	}
	rows := &duckdbRows{}
	if duckdb.ExecutePending(pending, &rows.result) == duckdb.StateError {
		err := &duckdbError{duckdb.ResultError(&rows.result)}
		duckdb.DestroyResult(&rows.result)
		return nil, err
	}
	return rows, nil
}

// duckdbRows is a running result.
type duckdbRows struct {
	result duckdb.Result
}

func (r *duckdbRows) close() { duckdb.DestroyResult(&r.result) }

func (r *duckdbRows) columns() (names []string, types []*columnType, err error) {
	for i := range duckdb.ColumnCount(&r.result) {
		name := duckdb.ColumnName(&r.result, i)
		logical := duckdb.ColumnLogicalType(&r.result, i)
		t, err := newColumnType(logical)
		duckdb.DestroyLogicalType(&logical)
		if err != nil {
			return nil, nil, fmt.Errorf("result column %d: %w", i+1, err)
		}
		names, types = append(names, name), append(types, t)
	}
	return names, types, nil
}

// each calls use with the next rows as vectors until there are none. The vectors live only during the call.
func (r *duckdbRows) each(types []*columnType, use func(columns []duckdbVector, rows int) error) error {
	columns := make([]duckdbVector, len(types))
	next := func() (bool, error) {
		chunk := duckdb.FetchChunk(r.result)
		if chunk.Ptr == nil {
			if message := duckdb.ResultError(&r.result); message != "" {
				return false, &duckdbError{message}
			}
			return false, nil
		}
		defer duckdb.DestroyDataChunk(&chunk)
		rows := int(duckdb.DataChunkGetSize(chunk))
		for i, t := range types {
			columns[i].load(duckdb.DataChunkGetVector(chunk, duckdb.IdxT(i)), t)
		}
		return rows > 0, use(columns, rows)
	}
	for {
		if more, err := next(); err != nil || !more {
			return err
		}
	}
}

// bytesRead is what the last finished query of c read from files.
func (c *duckdbConn) bytesRead() int64 {
	info := duckdb.GetProfilingInfo(c.conn)
	if info.Ptr == nil {
		return 0
	}
	value := duckdb.ProfilingInfoGetValue(info, "TOTAL_BYTES_READ")
	if value.Ptr == nil {
		return 0
	}
	defer duckdb.DestroyValue(&value)
	return duckdb.GetInt64(value)
}
