//go:build !frontend

package aws_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/glue"

	"penstock/consumer/consumertest"
	"penstock/infra/aws"
	"penstock/infra/iceberg"
)

// lakePeers are the variables that name the peers of a lake.
var lakePeers = []string{"AWS_ENDPOINT_URL_GLUE", "AWS_ENDPOINT_URL_S3"}

// versionedGlue gives a client that reaches the Glue peer through a proxy which holds to VersionId: moto takes every
// UpdateTable, whatever version it was built on.
func versionedGlue(t *testing.T, c aws.Clients) *glue.Client {
	t.Helper()
	upstream := os.Getenv("AWS_ENDPOINT_URL_GLUE")
	var mu sync.Mutex // over the look and the update
	forward := func(r *http.Request, call string, body []byte) (int, []byte, error) {
		out, err := http.NewRequestWithContext(r.Context(), http.MethodPost, upstream, bytes.NewReader(body))
		if err != nil {
			return 0, nil, err
		}
		out.Header = maps.Clone(r.Header)
		out.Header.Set("X-Amz-Target", "AWSGlue."+call)
		answer, err := http.DefaultClient.Do(out)
		if err != nil {
			return 0, nil, err
		}
		defer answer.Body.Close() //nolint:errcheck // it was read
		text, err := io.ReadAll(answer.Body)
		return answer.StatusCode, text, err
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone
		}
		_, call, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if call == "UpdateTable" {
			mu.Lock()
			defer mu.Unlock()
			if stale, err := isStale(body, func(look []byte) ([]byte, error) {
				_, text, err := forward(r, "GetTable", look)
				return text, err
			}); err != nil || stale {
				w.Header().Set("Content-Type", "application/x-amz-json-1.1")
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"__type": "ConcurrentModificationException"}`) // the client sees what is missing
				return
			}
		}
		status, text, err := forward(r, call, body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_, _ = w.Write(text) // the client sees what is missing
	}))
	t.Cleanup(server.Close)
	options := c.Glue().Options()
	options.BaseEndpoint = &server.URL
	return glue.New(options)
}

// isStale tells whether an UpdateTable was built on another version of the table than there is.
func isStale(update []byte, getTable func(body []byte) ([]byte, error)) (bool, error) {
	var in struct {
		DatabaseName, VersionId string
		TableInput              struct{ Name string }
	}
	if err := json.Unmarshal(update, &in); err != nil {
		return false, err
	}
	look, err := json.Marshal(map[string]string{"DatabaseName": in.DatabaseName, "Name": in.TableInput.Name})
	if err != nil {
		return false, err
	}
	text, err := getTable(look)
	if err != nil {
		return false, err
	}
	var now struct{ Table struct{ VersionId string } }
	if err := json.Unmarshal(text, &now); err != nil {
		return false, err
	}
	return now.Table.VersionId != in.VersionId, nil
}

// makeDatabase is the name of a database that is gone after the test, with its table.
func makeDatabase(t *testing.T, c aws.Clients) string {
	t.Helper()
	name := uniqueName()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, tableErr := c.Glue().DeleteTable(ctx, &glue.DeleteTableInput{DatabaseName: &name, Name: sdk.String("events")})
		_, err := c.Glue().DeleteDatabase(ctx, &glue.DeleteDatabaseInput{Name: &name})
		if err := errors.Join(tableErr, err); err != nil {
			t.Errorf("drop database %s: %v", name, err)
		}
	})
	return name
}

// peerLake opens a view of a lake on the peers; several of one name and location are several processes' views.
func peerLake(t *testing.T, client *glue.Client, c aws.Clients, database, location string) (*iceberg.Lake, iceberg.Files) {
	t.Helper()
	p, err := aws.NewPointer(client, database, "events", location)
	if err != nil {
		t.Fatal(err)
	}
	files := filesAt(t, c, location)
	return openLake(t, files, p), files
}

func TestLakeConforms(t *testing.T) {
	t.Parallel()
	c := connect(t, lakePeers...)
	client := versionedGlue(t, c)
	consumertest.LakeSuite(t, "Glue at "+os.Getenv("AWS_ENDPOINT_URL_GLUE")+" and S3 at "+os.Getenv("AWS_ENDPOINT_URL_S3"),
		func(t *testing.T) consumertest.LakeEnv {
			t.Helper()
			database, location := makeDatabase(t, c), "s3://"+makeBucket(t, c.S3)+"/lake/events"
			l, files := peerLake(t, client, c, database, location)
			peer, _ := peerLake(t, client, c, database, location)
			return consumertest.LakeEnv{
				Lake: l, Peer: peer,
				Bodies: func(t *testing.T) map[string][]string { t.Helper(); return lakeBodies(t, files, l) },
			}
		})
}

// TestLakeOnPeers: rows of every size, compacted, swept and expired, through two processes' views; at the end each id is in the
// table once, also for pyiceberg, which shares no code with this one.
func TestLakeOnPeers(t *testing.T) {
	t.Parallel()
	c := connect(t, lakePeers...)
	client := versionedGlue(t, c)
	database, location := makeDatabase(t, c), "s3://"+makeBucket(t, c.S3)+"/lake/events"
	l, files := peerLake(t, client, c, database, location)
	peer, _ := peerLake(t, client, c, database, location)
	const shards, events = 3, 20
	want := map[string]int{}
	for s := range shards {
		shard := fmt.Sprint("shard-", s)
		for n := 0; n < events; n += 2 {
			if err := appendSpan(t.Context(), []*iceberg.Lake{l, peer}[n/2%2], shard, n, n+2); err != nil {
				t.Fatal(err)
			}
		}
		want[shard] = events
	}
	appendLarge(t, l, "large", 2)
	stray := location + "/data/stray.parquet"
	if err := files.WriteFile(stray, []byte("x")); err != nil {
		t.Fatal(err)
	}
	checked := func(what string) {
		t.Helper()
		bodies := lakeBodies(t, files, peer)
		for shard, n := range want {
			rows, _ := span(shard, 0, n)
			for _, r := range rows {
				if got := bodies[r.Event.ID]; len(got) != 1 || got[0] != string(r.Body) {
					t.Errorf("%s: %s is in the table as %q", what, r.Event.ID, got)
				}
			}
		}
		if len(bodies) != shards*events+2 {
			t.Errorf("%s: %d events", what, len(bodies))
		}
	}
	checked("appended")
	before, err := l.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u, err := iceberg.NewUpkeep(l, iceberg.UpkeepConfig{
		TargetBytes: iceberg.DefaultTargetBytes, SafeAge: time.Hour, Room: func(int64) error { return nil },
		Busy: func() bool { return false }, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if done, err := u.Compact(t.Context(), nil); err != nil || done.FilesBefore == 0 {
		t.Errorf("compact: %+v, %v", done, err)
	}
	if _, err := u.Expire(t.Context()); err != nil {
		t.Error(err)
	}
	if done, err := u.Sweep(t.Context(), nil); err != nil || done.Files != 0 || done.Young < int64(len(before)) {
		t.Errorf("sweep of young files: %+v, %v", done, err)
	}
	checked("compacted")
	sweepAll(t, peer) // whose process knows nothing of the compaction
	after, err := l.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	replaced := slices.DeleteFunc(before, func(name string) bool { return slices.Contains(after, name) })
	if len(replaced) == 0 {
		t.Error("no file was replaced")
	}
	for _, name := range append(replaced, stray) {
		if _, err := files.ReadFile(name); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("%s after the sweep: %v", name, err)
		}
	}
	checked("swept")
	wantByPyiceberg(t, database+".events", lakeBodies(t, files, l))
}

// appendLarge appends events of one shard with large bodies that don't compress, so that their file is uploaded in parts.
func appendLarge(t *testing.T, l *iceberg.Lake, shard string, events int) {
	t.Helper()
	rows, moves := span(shard, 0, events)
	for i := range rows {
		e := &rows[i]
		e.Body = fmt.Appendf(nil, "%q", base64.StdEncoding.EncodeToString(random(7<<20+i)))
		e.Event.Data, e.Event.Size = e.Body, int64(len(e.Body))
	}
	if err := l.Append(t.Context(), rows, moves); err != nil {
		t.Fatal(err)
	}
}
