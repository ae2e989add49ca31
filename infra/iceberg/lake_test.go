package iceberg

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/apache/iceberg-go/table"
	"go.uber.org/goleak"

	"penstock/consumer"
	"penstock/schemas"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTableGolden pins what a new table's metadata says: schema and field ids, partition, sort order, properties.
func TestTableGolden(t *testing.T) {
	t.Parallel()
	meta, err := newTableMetadata("file:///lake")
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(meta)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "table-uuid")
	delete(fields, "last-updated-ms")
	got, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "table.golden.json")
	if *update {
		if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(want), got) {
		t.Errorf("table metadata differs from %s (go test -update rewrites it); got\n%s", golden, got)
	}
	for _, c := range schemas.EventColumns {
		f, ok := meta.CurrentSchema().FindFieldByID(c.FieldID)
		if !ok || f.Name != c.Name || f.Required != c.Required {
			t.Errorf("column %d is %+v, want %+v", c.FieldID, f, c)
		}
	}
	if err := checkTable(meta); err != nil {
		t.Error(err)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	large := []byte(`"` + strings.Repeat("ß漢🙂", 550_000) + `"`)
	rows := []consumer.Row{row("a", 1), row("a", 2), row("a", 3), row("a", 4)}
	full := &rows[0]
	full.Event.Subject, full.Event.PartitionKey, full.Event.OriginID = "s", "k", "o"
	full.Event.DataSchema, full.Event.Tenant = "https://x/y", "t"
	full.Event.Time = time.Date(1969, 7, 20, 20, 17, 40, 5000, time.FixedZone("", 3600))
	full.Event.Extensions = map[string]string{"zeta": "", "alpha": "\u0000\"\\🙂\u2028"}
	full.Position.Sub = 7
	full.Body = []byte("  {\"a\":1,\t\"a\":1.0e+00, \"z\": \"\\ud83d\\ude42 \\u0000\"}\r\n ")
	rows[1].Body, rows[1].Event.Size = large, int64(len(large))
	rows[2].Body, rows[2].Event.DataRef = nil, "s3://b/k"
	rows[3].Body, rows[3].Event.DataRef = []byte(`[1]`), "s3://b/l"
	if err := l.Append(t.Context(), rows, []consumer.Move{move("a", 0, 4)}); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]map[string]string)
	for _, r := range scan(t, l, "*") {
		got[r["id"]] = r
	}
	if len(got) != len(rows) {
		t.Fatalf("%d rows, want %d", len(got), len(rows))
	}
	for i := range rows {
		if g, w := got[rows[i].Event.ID], expected(&rows[i]); fmt.Sprint(g) != fmt.Sprint(w) {
			t.Errorf("row %d: got\n%.2000v\nwant\n%.2000v", i, g, w)
		}
	}
}

// expected is a row as scan reads it.
func expected(r *consumer.Row) map[string]string {
	e := &r.Event
	const layout = "2006-01-02T15:04:05.999999Z"
	want := map[string]string{
		"id": e.ID, "type": e.Type, "source": e.Source, "subject": e.Subject, "partition_key": e.PartitionKey,
		"origin_id": e.OriginID, "content_type": e.ContentType, "data_schema": e.DataSchema, "tenant": e.Tenant,
		"data_ref": e.DataRef, "size": fmt.Sprint(e.Size), "sha256": hex.EncodeToString(e.SHA256[:]),
		"shard": r.Shard, "sequence": r.Position.String(),
		"received_at": e.ReceivedTime.UTC().Format(layout), "event_time": e.Time.UTC().Format(layout),
		"landed_at": r.Landed.UTC().Format(layout),
	}
	for k, v := range want {
		if v == "" {
			delete(want, k)
		}
	}
	if r.Body != nil {
		want["data"] = string(r.Body)
	}
	if len(e.Extensions) > 0 {
		type pair struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		}
		var pairs []pair
		for k, v := range e.Extensions {
			pairs = append(pairs, pair{k, v})
		}
		slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.Key, b.Key) })
		data, _ := json.Marshal(pairs)
		want["extensions"] = string(data)
	}
	return want
}

// TestBrokenText: text that is not UTF-8 must not make a file that SQL engines refuse as a whole.
func TestBrokenText(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	r := row("a", 1)
	r.Body, r.Event.Subject = []byte("\"\xff\""), "\xfe"
	if err := l.Append(t.Context(), []consumer.Row{r}, []consumer.Move{move("a", 0, 1)}); err != nil {
		t.Fatal(err)
	}
	got := scan(t, l, "data", "subject")
	if len(got) != 1 || got[0]["data"] != "\"\uFFFD\"" || got[0]["subject"] != "\uFFFD" {
		t.Errorf("got %q", got)
	}
}

// TestPartitionAndOrder: rows of several days go to files of their days, each sorted by type and id.
func TestPartitionAndOrder(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	rows := span("a", 0, 300)
	for i := range rows {
		rows[i].Event.ReceivedTime = time.Date(2026, 1, 1, 23, 59, 59, 999999000, time.UTC).AddDate(0, 0, -(i*7)%3)
	}
	rows[5].Event.ReceivedTime = time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC) // before the epoch
	if err := l.Append(t.Context(), rows, []consumer.Move{move("a", 0, 300)}); err != nil {
		t.Fatal(err)
	}
	files, err := l.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var days []string
	for _, f := range files {
		days = append(days, filepath.Base(filepath.Dir(f)))
	}
	slices.Sort(days)
	want := []string{"received_at_day=1969-12-31", "received_at_day=2025-12-30", "received_at_day=2025-12-31",
		"received_at_day=2026-01-01"}
	if !slices.Equal(days, want) {
		t.Errorf("partitions %v, want %v", days, want)
	}
	last := make(map[string]string)
	for _, r := range scan(t, l, "received_at", "type", "id") {
		day, key := r["received_at"][:10], r["type"]+"/"+r["id"]
		if key <= last[day] {
			t.Fatalf("%s: %s comes after %s", day, key, last[day])
		}
		last[day] = key
	}
	status, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status.Files != 4 || status.Rows != 300 || status.Snapshots != 1 || status.Bytes == 0 || status.SnapshotID == 0 ||
		status.OldestDay.Format(time.DateOnly) != "1969-12-31" ||
		status.NewestDay.Format(time.DateOnly) != "2026-01-01" ||
		!status.Offsets["a"].SamePlace(at(300)) || time.Since(status.LastCommit) > time.Hour {
		t.Errorf("status %+v", status)
	}
}

// TestManyBatches: more than one batch and row group in a file, in one order, with rows of the largest body.
func TestManyBatches(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	rows := span("a", 0, 40)
	for i := range rows {
		rows[i].Event.Type = "t"
		size := 3 << 20
		if i%20 == 0 {
			size = schemas.MaxBody
		}
		rows[i].Body = bytes.Repeat([]byte{byte('a' + i%26)}, size)
	}
	if err := l.Append(t.Context(), rows, []consumer.Move{move("a", 0, 40)}); err != nil {
		t.Fatal(err)
	}
	got := scan(t, l, "id", "data")
	if len(got) != len(rows) {
		t.Fatalf("%d rows, want %d", len(got), len(rows))
	}
	for i, r := range got {
		if r["id"] != rows[i].Event.ID || r["data"] != string(rows[i].Body) {
			t.Errorf("row %d: id %s, %d bytes", i, r["id"], len(r["data"]))
		}
	}
}

func TestContains(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	for i := range 3 {
		if err := appendSpan(t.Context(), l, "a", i*10, i*10+10); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		id   string
		when time.Time
		want bool
	}{
		{row("a", 17).Event.ID, received.Add(5 * time.Hour), true},
		{row("a", 17).Event.ID, received.AddDate(0, 0, 1), false},
		{row("a", 31).Event.ID, received, false},
	} {
		got, err := l.Contains(t.Context(), c.id, c.when)
		if err != nil || got != c.want {
			t.Errorf("Contains(%s, %s) = %t, %v; want %t", c.id, c.when, got, err, c.want)
		}
	}
}

// TestCommitsAreForgotten: what a commit was made of must not stay in memory with the version that it made, or a server
// grows with every commit. iceberg-go's new snapshot points into its producer, that holds the version before, and so on.
func TestCommitsAreForgotten(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	var commits []weak.Pointer[madeFiles]
	for n := range 5 {
		at, err := l.catalog.LoadTable(t.Context(), tableIdent())
		if err != nil {
			t.Fatal(err)
		}
		made := &madeFiles{FileIO: l.files}
		a := &appending{lake: l, id: strconv.Itoa(n), moves: []consumer.Move{move("a", n, n+1)}}
		if a.files, err = l.writeFiles(t.Context(), made, at, span("a", n, n+1)); err != nil {
			t.Fatal(err)
		}
		commit, err := a.stage(t.Context(), made.of(at))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.catalog.CommitTable(t.Context(), commit.Identifier, commit.Requirements, commit.Updates); err != nil {
			t.Fatal(err)
		}
		commits = append(commits, weak.Make(made))
	}
	runtime.GC()
	for n, commit := range commits {
		if commit.Value() != nil {
			t.Errorf("commit %d of %d is still in memory", n+1, len(commits))
		}
	}
	wantOnce(t, l, map[string]int{"a": len(commits)})
}

// TestUpkeepOfMetadata: what each commit has to write stays small, whatever came before.
func TestUpkeepOfMetadata(t *testing.T) {
	t.Parallel()
	l, _, fs := newLake(t)
	const commits = 70
	for i := range commits {
		if err := appendSpan(t.Context(), l, "s", i, i+1); err != nil {
			t.Fatal(err)
		}
	}
	wantOnce(t, l, map[string]int{"s": commits})
	status, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status.Snapshots > keepSnapshots+1 {
		t.Errorf("%d snapshots", status.Snapshots)
	}
	names, err := fs.List("/data/lake/metadata")
	if err != nil {
		t.Fatal(err)
	}
	versions := 0
	for _, n := range names {
		if strings.HasSuffix(n, ".metadata.json") {
			versions++
		}
	}
	if versions > 35 {
		t.Errorf("%d metadata files", versions)
	}
	tbl, err := l.catalog.LoadTable(t.Context(), tableIdent())
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := tbl.CurrentSnapshot().Manifests(l.files)
	if err != nil {
		t.Fatal(err)
	}
	if len(manifests) > 55 {
		t.Errorf("%d manifests", len(manifests))
	}
	if n := tbl.Properties().GetInt(table.CommitNumRetriesKey, -1); n != 0 {
		t.Errorf("%s is %d", table.CommitNumRetriesKey, n)
	}
}
