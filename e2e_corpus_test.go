//go:build !nolocal

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"penstock/schemas"
)

// corpusDir holds real documents beside the project; a clone without it tests with generated ones.
const corpusDir = "../shared/corpus"

// corpus gives a directory of JSON documents and whether it is the real one.
func corpus(t *testing.T) (dir string, real bool) {
	t.Helper()
	if _, err := os.Stat(corpusDir); err == nil {
		return corpusDir, true
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	dir = t.TempDir()
	var array, lines bytes.Buffer
	for i := range 40 {
		fmt.Fprintf(&array, ",\n  { \"n\": %d,\t\"type\": \"made\" }", i)
		fmt.Fprintf(&lines, "[%d, \"line é\"]\n", i)
	}
	for name, content := range map[string]string{
		"array.json":   "[" + array.String()[1:] + "\n]\n",
		"lines.ndjson": lines.String(),
		"large.json":   `{"pad": "` + strings.Repeat("large ", 400_000) + `"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, false
}

// content reads a corpus file, unpacked.
func content(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(path, ".gz") {
		return raw
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = io.ReadAll(unpacked); err != nil {
		t.Fatal(err)
	}
	return raw
}

// sendCommand runs `penstock send --ids` and returns the ids by path and place.
func sendCommand(t *testing.T, s *server, wantSuccess bool, args ...string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := program(ctx, append([]string{"send", "--url", s.url, "--ids"}, args...)...)
	cmd.Env = append(cmd.Env, "PENSTOCK_KEY="+s.key)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); (err == nil) != wantSuccess {
		t.Fatalf("send %v: %v\n%s%s", args, err, &stdout, &stderr)
	}
	ids := map[string]string{}
	for line := range strings.Lines(stdout.String()) {
		if fields := strings.Split(strings.TrimSpace(line), "\t"); len(fields) == 3 {
			ids[fields[0]+"\t"+fields[1]] = fields[2]
		}
	}
	return ids
}

// Every file of the corpus that fits goes in with `penstock send`, whole and split, comes back byte for byte, and is in SQL
// once, in full.
func TestCorpus(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	want, real := sendCorpus(t, s)
	for id, sum := range want {
		if sha256.Sum256(s.fetch(id)) != sum {
			t.Errorf("%s came back with other bytes", id)
		}
	}
	inSQL(t, s, want)
	if real {
		gitHubInSQL(t, s)
	}
	s.stop()
}

// sendCorpus sends every file that fits, whole and split, and returns what each id must come back as; and whether it is the real
// corpus.
func sendCorpus(t *testing.T, s *server) (want map[string][32]byte, real bool) {
	t.Helper()
	dir, real := corpus(t)
	files, err := filepath.Glob(filepath.Join(dir, "*json*"))
	if err != nil {
		t.Fatal(err)
	}
	want = map[string][32]byte{} // by id
	for _, path := range files {
		name, whole := filepath.Base(path), content(t, path)
		if len(whole) > schemas.MaxBody {
			if ids := sendCommand(t, s, false, "--type", name, path); len(ids) != 0 {
				t.Errorf("%s is over the limit and was taken: %v", name, ids)
			}
			continue
		}
		var parts [][]byte
		if strings.HasSuffix(name, ".ndjson") {
			for line := range bytes.Lines(whole) {
				parts = append(parts, bytes.TrimRight(line, "\r\n"))
			}
		} else {
			for _, id := range sendCommand(t, s, true, "--type", name, path) {
				want[id] = sha256.Sum256(whole)
			}
			if bytes.HasPrefix(bytes.TrimSpace(whole), []byte("[")) && !strings.HasSuffix(name, ".gz") {
				if err := schemas.SplitArray(whole, func(element []byte) error { parts = append(parts, element); return nil }); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(parts) == 0 {
			continue
		}
		ids := sendCommand(t, s, true, "--split", "--type", name+" split", path)
		if len(ids) != len(parts) {
			t.Fatalf("%s: %d ids for %d parts", name, len(ids), len(parts))
		}
		sums := map[[32]byte]int{}
		for _, part := range parts {
			sums[sha256.Sum256(part)]++
		}
		for _, id := range ids {
			got := sha256.Sum256(s.fetch(id))
			if sums[got]--; sums[got] < 0 {
				t.Errorf("%s: %s is none of the parts", name, id)
			}
			want[id] = got
		}
	}
	return want, real
}

// inSQL holds the lake against what was sent: every id once, with its whole data.
func inSQL(t *testing.T, s *server, want map[string][32]byte) {
	t.Helper()
	rows := s.sql("SELECT id, sha256, data FROM events")[1:]
	if len(rows) != len(want) {
		t.Errorf("%d rows for %d events", len(rows), len(want))
	}
	for _, row := range rows {
		sum, ok := want[row[0]]
		if !ok || fmt.Sprintf("%x", sum) != row[1] || sha256.Sum256([]byte(row[2])) != sum {
			t.Errorf("%s: row with %d bytes of data and sha256 %s is not what was sent", row[0], len(row[2]), row[1])
		}
		delete(want, row[0])
	}
	if len(want) > 0 {
		t.Errorf("%d events are not in SQL", len(want))
	}
}

// gitHubInSQL counts the GitHub events by type, and extracts the pushers, against encoding/json.
func gitHubInSQL(t *testing.T, s *server) {
	t.Helper()
	var events []struct {
		Type  string
		Actor struct{ Login string }
	}
	decode(t, content(t, filepath.Join(corpusDir, "github_events.json")), &events)
	counts, logins := map[string]int{}, []string{}
	for _, e := range events {
		counts[e.Type]++
		if e.Type == "PushEvent" {
			logins = append(logins, e.Actor.Login)
		}
	}
	slices.Sort(logins)
	const from = " FROM events WHERE type = 'github_events.json split'"
	for _, row := range s.sql("SELECT json_extract_scalar(data, '$.type') AS t, count(*) AS n" + from + " GROUP BY 1")[1:] {
		if n, err := strconv.Atoi(row[1]); err != nil || counts[row[0]] != n {
			t.Errorf("%s: counted %s, want %d", row[0], row[1], counts[row[0]])
		}
		delete(counts, row[0])
	}
	if len(counts) > 0 {
		t.Errorf("not counted: %v", counts)
	}
	var got []string
	for _, row := range s.sql("SELECT json_extract_scalar(data, '$.actor.login') AS login" + from +
		" AND json_extract_scalar(data, '$.type') = 'PushEvent' ORDER BY 1")[1:] {
		got = append(got, row[0])
	}
	if !slices.Equal(got, logins) {
		t.Errorf("pushers %v, want %v", got, logins)
	}
}

// A client that loses the answer and retries with its key gets the first id, in the same process and in the next.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir)
	send := func(path, contentType, body string) (string, string) {
		a := s.must(202, "POST", path, []byte(body), "Content-Type", contentType, "Idempotency-Key", "once-"+contentType)
		return string(a.body), a.header.Get("Idempotency-Replayed")
	}
	one, _ := send("/v1/events", "application/json", `{"n":1}`)
	batch, _ := send("/v1/events", "application/x-ndjson", "{\"n\":2}\n{\"n\":3}\n")
	for round := range 2 {
		again, replayed := send("/v1/events", "application/json", `{"n":1}`)
		if again != one || replayed != "true" {
			t.Errorf("round %d: answered %s (replayed %q), first %s", round, again, replayed, one)
		}
		again, replayed = send("/v1/events", "application/x-ndjson", "{\"n\":2}\n{\"n\":3}\n")
		if again != batch || replayed != "true" {
			t.Errorf("round %d: answered %s (replayed %q), first %s", round, again, replayed, batch)
		}
		a, err := s.request("POST", "/v1/events", []byte(`{"n":4}`), "Content-Type", "application/json", "Idempotency-Key", "once-application/json")
		if err != nil || a.status != 422 {
			t.Errorf("round %d: another body under the key: %d %v", round, a.status, err)
		}
		if n := s.sql("SELECT count(*) FROM events")[1][0]; n != "3" {
			t.Errorf("round %d: %s events, want 3", round, n)
		}
		s.kill()
		s = startServer(t, dir)
	}
	s.stop()
}

// The envelope is CloudEvents JSON that carries what the client said.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	id := s.post([]byte(`{"a": 1}`), "ce-type", "order", "ce-source", "/shop", "ce-subject", "7", "ce-id", "mine", "ce-region", "eu")
	s.fetch(id)
	var got map[string]json.RawMessage
	decode(t, s.must(200, "GET", "/v1/events/"+id, nil, "Accept", "application/cloudevents+json").body, &got)
	for name, want := range map[string]string{
		"specversion": `"1.0"`, "id": `"` + id + `"`, "type": `"order"`, "source": `"/shop"`, "subject": `"7"`,
		"originid": `"mine"`, "region": `"eu"`, "size": "8", "data": `{"a": 1}`,
	} {
		if string(got[name]) != want {
			t.Errorf("%s is %s, want %s", name, got[name], want)
		}
	}
	s.stop()
}
