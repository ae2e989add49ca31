package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"penstock/consumer/query"
)

// nested puts outer around itself, where it says %s, and around inner at last.
func nested(levels int, outer, inner string) string {
	for range levels {
		inner = strings.ReplaceAll(outer, "%s", inner)
	}
	return inner
}

// chained is a list in which each item names the one before: %[1]d is its number, %[2]d the number before.
func chained(items int, item string) string {
	list := make([]string, items)
	for i := range list {
		list[i] = fmt.Sprintf(item, i+1, i)
	}
	return strings.Join(list, ", ")
}

// Each of these would be bound for seconds, and one level more for twice or three times as long.
func TestWhatGrowsExponentiallyIsRefused(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	for name, sql := range map[string]string{
		"macro":              "SELECT " + nested(11, "CAST(%s AS varchar)", "1"),
		"macro of macros":    "SELECT " + nested(4, "date_add('day', date_diff('day', %s, now()), now())", "now()"),
		"DuckDB's own macro": "SELECT " + nested(18, "nullif(%s, 7)", "1"),
		"BETWEEN":            "SELECT " + nested(17, "(%s BETWEEN 1 AND 2)", "1"),
		"aliases":            "SELECT 1 AS a0, " + chained(14, "a%[2]d + a%[2]d AS a%[1]d"),
		"alias in WHERE":     "SELECT 1 AS a0, " + chained(13, "a%[2]d + a%[2]d AS a%[1]d") + " WHERE A13 + a13 = 1",
		"alias in subquery":  "SELECT 1 AS a0, " + chained(13, "a%[2]d + a%[2]d AS a%[1]d") + ", (SELECT a13 + a13)",
		"stars":              "SELECT count(*) FROM " + nested(12, "(SELECT *, * FROM %s)", "events"),
		"stars by WITH":      "WITH a0 AS (FROM events), " + chained(12, "a%[1]d AS (SELECT * FROM a%[2]d x, a%[2]d y)") + " SELECT count(*) FROM a12",
		"COLUMNS":            "SELECT max(COLUMNS(*)) FROM (SELECT COLUMNS(*), COLUMNS(*) FROM " + nested(10, "(SELECT *, * FROM %s)", "events") + ")",
		"UNION BY NAME": "WITH a0 AS (FROM events), " + chained(12, "a%[1]d AS (SELECT COLUMNS('(.*)') AS 'x\\1' FROM a%[2]d "+
			"UNION ALL BY NAME SELECT COLUMNS('(.*)') AS 'y\\1' FROM a%[2]d)") + " SELECT count(*) FROM a12",
	} {
		if err := engine.Check(t.Context(), sql, nil); !errors.Is(err, query.ErrStatement) || !strings.Contains(err.Error(), "grows too large") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOrdinaryNestingIsAccepted(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	for name, sql := range map[string]string{
		"calls":      "SELECT " + strings.Repeat("json_extract_scalar(data, '$.a'), ", 1000) + "id FROM events",
		"in calls":   "SELECT " + strings.Repeat("CAST(json_extract_scalar(json_extract(json_parse(data), '$.a'), '$.b') AS varchar), ", 50) + "id FROM events",
		"dates":      "SELECT date_add('day', 1, date_trunc('day', date_add('hour', 1, from_iso8601_timestamp(id)))) FROM events",
		"aliases":    "SELECT lower(id) AS id, lower(id) AS type, id || type AS source, source || type || id AS tenant FROM events WHERE source > ''",
		"subqueries": "SELECT * FROM " + nested(20, "(SELECT * FROM %s)", "events"),
		"WITH":       "WITH a0 AS (FROM events), " + chained(20, "a%[1]d AS (SELECT *, upper(id) AS id FROM a%[2]d)") + " SELECT * FROM a20",
		"UNION":      "SELECT * FROM events" + strings.Repeat(" UNION ALL SELECT * FROM events", 50),
		"joins":      "SELECT * FROM events e0" + strings.ReplaceAll(chained(9, " JOIN events e%[1]d ON e%[1]d.id = e%[2]d.id"), ",", ""),
		"own name":   "WITH events AS (SELECT * FROM events), r AS (SELECT * FROM events) SELECT * FROM r",
		"recursive":  "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM (SELECT * FROM r) WHERE n < 9) SELECT * FROM r",
	} {
		if err := engine.Check(t.Context(), sql, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChecksWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	places := engine.checks
	defer func() { engine.checks = places }() // those made in the bubble end with it
	synctest.Test(t, func(t *testing.T) {
		engine.checks = make(chan struct{}, maxChecks)
		for range maxChecks {
			engine.checks <- struct{}{}
		}
		stop := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		checked := make(chan error, 1)
		go func() { checked <- engine.Check(ctx, "SELECT 1", nil) }()
		synctest.Wait()
		select {
		case err := <-checked:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		cancel(stop)
		if err := <-checked; !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
		<-engine.checks
		if err := engine.Check(t.Context(), "SELECT 1", nil); err != nil {
			t.Error(err)
		}
		engine.processes.ready.close() // it belongs to the bubble
		engine.processes.ready = nil
	})
}
