package athenatest

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/consumer/query"
)

var errScanLimit = errors.New("bytes scanned limit")

// output is where the result lies: Athena names it by the kind of the statement.
func (e *execution) output() string {
	suffix := ".csv"
	if e.kind != "DML" {
		suffix = ".txt"
	}
	return strings.TrimSuffix(e.in.ResultConfiguration.OutputLocation, "/") + "/" + e.id + suffix
}

// execute runs the statement and puts its result, and an object that says what it is, on S3.
func (s *Server) execute(ctx context.Context, e *execution) error {
	file, err := os.CreateTemp("", "athenatest-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // it is a temporary file
	defer file.Close()           //nolint:errcheck // what it holds was read
	statistics, err := s.cfg.SQL.Run(ctx, e.in.QueryString, e.parameters, file)
	switch {
	case errors.Is(err, query.ErrStatement): // Athena names the kind of an error before it
		return fmt.Errorf("%w: SYNTAX_ERROR: %s", query.ErrStatement, strings.TrimPrefix(err.Error(), query.ErrStatement.Error()+": "))
	case err != nil:
		return err
	}
	s.mu.Lock()
	e.scanned = statistics.ScannedBytes
	tooMuch := s.cfg.ScanLimit > 0 && e.scanned > s.cfg.ScanLimit
	s.mu.Unlock()
	if tooMuch {
		return errScanLimit
	}
	columns, result, err := asAthenaWrites(e, file)
	if err != nil {
		return err
	}
	s.mu.Lock()
	e.columns = columns
	s.mu.Unlock()
	if err := s.put(ctx, e.output(), result); err != nil {
		return err
	}
	return s.put(ctx, e.output()+".metadata", strings.NewReader(strings.Join(columns, "\n"))) // Athena's is binary
}

// asAthenaWrites gives the headings and what the object holds: the CSV as it is, or for other statements text without headings, a line
// for each row, with a tab between columns that blanks fill up.
func asAthenaWrites(e *execution, file *os.File) (columns []string, result io.ReadSeeker, err error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	rows := csv.NewReader(bufio.NewReader(file))
	if columns, err = rows.Read(); err != nil {
		return nil, nil, fmt.Errorf("result without headings: %w", err)
	}
	if e.kind == "DML" {
		_, err := file.Seek(0, io.SeekStart)
		return columns, file, err
	}
	all, err := rows.ReadAll()
	if err != nil {
		return nil, nil, err
	}
	var text strings.Builder
	for _, row := range all {
		if strings.HasPrefix(strings.TrimLeft(strings.ToLower(e.in.QueryString), " \n"), "explain") {
			text.WriteString(strings.TrimRight(row[len(row)-1], "\n") + "\n") // the plan, of many lines
			continue
		}
		for i, value := range row {
			if i > 0 {
				text.WriteByte('\t')
			}
			fmt.Fprintf(&text, "%-20s", value)
		}
		text.WriteByte('\n')
	}
	if columns[0] == "explain_key" { // DuckDB's
		columns = []string{"Query Plan"}
	}
	return columns, strings.NewReader(text.String()), nil
}

func (s *Server) put(ctx context.Context, location string, body io.ReadSeeker) error {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(location, "s3://"), "/")
	_, err := s.cfg.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: body})
	if err != nil {
		return fmt.Errorf("unable to put the result: %w", err)
	}
	return nil
}

// results is GetQueryResults, of which only the columns are told.
func (s *Server) results(id string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(id)
	switch {
	case err != nil:
		return nil, err
	case e.state == query.Failed || e.state == query.Cancelled:
		return nil, invalid("INVALID_INPUT", "Query did not finish successfully. Final query state: %s", e.state)
	case e.state != query.Succeeded:
		return nil, invalid("INVALID_INPUT", "Query has not yet finished. Current state: %s", e.state)
	}
	info := []any{}
	for _, name := range e.columns {
		info = append(info, map[string]any{"CatalogName": "hive", "Name": name, "Label": name, "Type": "varchar"})
	}
	return map[string]any{"ResultSet": map[string]any{"Rows": []any{}, "ResultSetMetadata": map[string]any{"ColumnInfo": info}}}, nil
}
