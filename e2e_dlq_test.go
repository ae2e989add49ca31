//go:build !nolocal

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// command runs the real program as a client of the server and returns its output and exit status.
func (s *server) command(args ...string) (stdout string, status int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := program(ctx, args...)
	cmd.Env = append(cmd.Env, "PENSTOCK_URL="+s.url, "PENSTOCK_KEY="+s.key)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// A body that is gone when the lake sink wants it makes a dead letter; once the body is back, a requeue puts the event in
// the lake, and in once, although the server dies before the sink has committed anything.
func TestDeadLetterEndToEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir, "--flush-age", "10m")
	body := `"` + strings.Repeat("x", 1_200_000) + `"`
	id := s.post([]byte(body))
	s.kill()
	found, err := filepath.Glob(filepath.Join(dir, "objects", "penstock", "bodies", "*", id))
	if err != nil || len(found) != 1 {
		t.Fatalf("bodies %v, %v", found, err)
	}
	saved := filepath.Join(t.TempDir(), "saved")
	if err := os.Rename(found[0], saved); err != nil {
		t.Fatal(err)
	}
	s = startServer(t, dir, "--flush-age", "10m")
	var place string
	for deadline := time.Now().Add(time.Minute); place == ""; {
		list, _ := s.command("dlq", "list", "lake")
		for field := range strings.FieldsSeq(list) {
			if strings.HasPrefix(field, "shardId-") {
				place = field
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no dead letter: %s\n%s", list, s.log())
		}
	}
	if out, status := s.command("dlq", "show", "lake", place, "--raw"); status != 0 || !strings.Contains(out, id) {
		t.Errorf("show: status %d, %.300q", status, out)
	}
	if out, status := s.command("dlq", "requeue", "lake", place); status != 1 || !strings.Contains(out, "1 refused") {
		t.Errorf("requeue without the body: status %d, %s", status, out)
	}
	if err := os.Rename(saved, found[0]); err != nil {
		t.Fatal(err)
	}
	if out, status := s.command("dlq", "requeue", "lake", place); status != 0 {
		t.Errorf("requeue: status %d, %s\n%s", status, out, s.log())
	}
	s.kill()
	s = startServer(t, dir)
	rows := s.sql("SELECT count(*), count(DISTINCT id), max(length(data)) FROM events")
	if got := strings.Join(rows[1], " "); got != "1 1 1200002" {
		t.Errorf("the lake has rows, ids, longest body %s", got)
	}
	if out, _ := s.command("lake", "status"); !strings.Contains(out, "shardId-") || strings.Contains(out, "requeue/") {
		t.Errorf("lake status lists what is no shard:\n%s", out)
	}
	s.stop()
}
