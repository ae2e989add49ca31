package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

const (
	// sqlDay is one of the days of BenchmarkLakeOfDays; it has sqlDayCount events.
	sqlDay      = "FROM events WHERE received_at >= %[1]s '2026-01-05 00:00:00%[2]s' AND received_at < %[1]s '2026-01-06 00:00:00%[2]s'"
	sqlDayCount = 1_000_000
)

// sqlCount: a count of one day of ten, from the statement's POST to the last byte of its result, against the same count over
// the same files in a DuckDB of its own.
func (b *bench) sqlCount(ctx context.Context) (_ []measure, err error) {
	dir := filepath.Join(b.dir, "lake")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fill, err := b.goBenchmarks(ctx, ".")
	if err != nil {
		return nil, err
	}
	fill.env = []string{"PENSTOCK_BENCH_DATA=" + dir}
	if _, err := fill.side("^BenchmarkLakeOfDays$").round(ctx, 0); err != nil {
		return nil, err
	}
	hand, err := b.goBenchmarks(ctx, "infra/local")
	if err != nil {
		return nil, err
	}
	hand.benchtime = b.length.String()
	hand.env = []string{
		"PENSTOCK_BENCH_FILES=" + dir + ".files", "PENSTOCK_BENCH_WANT=" + strconv.Itoa(sqlDayCount),
		"PENSTOCK_BENCH_SQL=SELECT count(*) " + fmt.Sprintf(sqlDay, "TIMESTAMPTZ", "+00"),
		"PENSTOCK_BENCH_THREADS=" + strconv.Itoa(runtime.GOMAXPROCS(0)),
	}
	server, err := b.startServerOn(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = server.end(err) }()
	statement := "SELECT count(*) " + fmt.Sprintf(sqlDay, "TIMESTAMP", "")
	want := fmt.Sprintf("\"_col0\"\n\"%d\"\n", sqlDayCount)
	subject := repeat(func() error {
		got, err := server.query(ctx, statement)
		if err == nil && got != want {
			err = fmt.Errorf("the count is %q, want %q", got, want)
		}
		return err
	})
	pairs, err := b.alternate(ctx, server.whilePaused(hand.side("^BenchmarkByHand$")), subject)
	if err != nil {
		return nil, err
	}
	mean := func(s *sample) float64 { return 1000 / s.perSecond }
	return []measure{summarize("mean time", "DuckDB by hand", "ms", atMost(1.3), pairs, mean)}, nil
}

// query runs a statement as a client does: it posts it, waits for its end, and gets the result.
func (p *process) query(ctx context.Context, sql string) (csv string, err error) {
	body, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		return "", fmt.Errorf("encode a statement: %w", err)
	}
	var execution struct{ Href, State, Error, ResultHref string }
	text, err := p.ask(ctx, http.MethodPost, "/v1/queries", body, http.StatusAccepted)
	if err == nil {
		err = json.Unmarshal(text, &execution)
	}
	if err != nil {
		return "", fmt.Errorf("post a statement: %w", err)
	}
	text, err = p.ask(ctx, http.MethodGet, execution.Href+"?wait=30", nil, http.StatusOK)
	if err == nil {
		err = json.Unmarshal(text, &execution)
	}
	if err != nil || execution.ResultHref == "" {
		return "", fmt.Errorf("wait for a statement, which is %s %s: %w", execution.State, execution.Error, errors.Join(err, io.EOF))
	}
	if text, err = p.ask(ctx, http.MethodGet, execution.ResultHref, nil, http.StatusOK); err != nil {
		return "", fmt.Errorf("get a result: %w", err)
	}
	return string(text), nil
}

// ask makes a request of the server and reads the answer as a whole.
func (p *process) ask(ctx context.Context, method, path string, body []byte, want int) (text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", mediaJSON)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if text, err = io.ReadAll(res.Body); err == nil && res.StatusCode != want {
		err = fmt.Errorf("%s %s answered %s: %.500s", method, path, res.Status, text)
	}
	return text, err
}
