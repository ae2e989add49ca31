package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"penstock/infra/client/clienttest"
)

func TestSendPrintsIDsInOrder(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Fault = func(n int) clienttest.Fault { return clienttest.Fault{Lose: n%2 == 1} }
	var lines strings.Builder
	for i := range 3_000 {
		fmt.Fprintf(&lines, "%d\n", i)
	}
	whole, many := hold(t, "whole.json", "[true]"), hold(t, "many.ndjson", lines.String())
	var c console
	if err := c.command(t.Context(), t, server, "send", whole, many, "--ids"); err != nil {
		t.Fatal(err, c.stderr.String())
	}
	printed := strings.Split(strings.TrimSuffix(c.stdout.String(), "\n"), "\n")
	if len(printed) != 3_001 || len(server.Events()) != 3_001 {
		t.Fatalf("%d lines, %d events", len(printed), len(server.Events()))
	}
	for i, line := range printed {
		fields := strings.Split(line, "\t")
		want, place, path := fmt.Sprint(i-1), fmt.Sprint(i), many
		if i == 0 {
			want, place, path = "[true]", "-", whole
		}
		event, ok := server.Event(fields[2])
		if !ok || string(event.Body) != want || fields[0] != path || fields[1] != place {
			t.Fatalf("line %d: %q, event %q", i, line, event.Body)
		}
	}
	contains(t, c.stderr.String(), "sent 3,001 events", "trying again")
}

func TestSendSummary(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	path := hold(t, "a.ndjson", "1\n{bad\n\n3\n")
	var c console
	if err := c.command(t.Context(), t, server, "send", path, "--json"); !errors.Is(err, errReported) {
		t.Fatal(err)
	}
	var s sendSummary
	if err := json.Unmarshal(c.stdout.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Accepted != 2 || s.Rejected != 1 || s.Requests != 1 || s.Bytes != 2 || s.Latency.Max <= 0 || s.EventsPerSecond <= 0 {
		t.Errorf("%+v", s)
	}
	if len(s.Errors) != 1 || *s.Errors[0].Position != 2 || s.Errors[0].Status != 400 || s.Errors[0].Unsure {
		t.Errorf("%+v", s.Errors)
	}
	contains(t, c.stderr.String(), path+":2: 400 ")

	var text console
	if err := text.command(t.Context(), t, server, "send", path); !errors.Is(err, errReported) {
		t.Fatal(err)
	}
	contains(t, text.stdout.String(), "sent 2 events", "latency p50", "NOT ACCEPTED: 1 event ")
}

func TestSendProgress(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	path := hold(t, "a.ndjson", strings.Repeat("1\n", 5_000)+"{bad\n")
	terminal, plain := console{width: 80}, console{}
	for _, c := range []*console{&terminal, &plain} {
		if err := c.command(t.Context(), t, server, "send", path); !errors.Is(err, errReported) {
			t.Fatal(err)
		}
		contains(t, c.stderr.String(), path+":5001: 400")
	}
	contains(t, terminal.stderr.String(), "sending", "\r")
	if got := plain.stderr.String(); strings.ContainsAny(got, "\r\x1b") || strings.Count(got, "\n") != 1 {
		t.Errorf("without a terminal: %q", got)
	}
}

func TestSendStandardInput(t *testing.T) {
	t.Parallel()
	for _, width := range []int{0, 80} {
		server := clienttest.New(t)
		c := console{stdin: strings.NewReader("1\n2"), width: width}
		if err := c.command(t.Context(), t, server, "send", "-", "--type", "t", "--ids"); err != nil {
			t.Fatal(err)
		}
		bar := console{stdin: strings.NewReader("3\n"), width: width}
		if err := bar.command(t.Context(), t, server, "send", "-", "--type", "t"); err != nil || strings.Contains(bar.stderr.String(), "sending") != (width > 0) {
			t.Errorf("%v, %q", err, &bar.stderr)
		}
		contains(t, c.stdout.String(), "stdin\t1\t", "stdin\t2\t")
		for _, e := range server.Events() {
			if e.Attributes.Get("type") != "t" {
				t.Errorf("attributes %v", e.Attributes)
			}
		}
	}
}

func TestSendInterruptedSaysWhere(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	server.Fault = func(n int) clienttest.Fault {
		if n == 2 {
			cancel()
		}
		return clienttest.Fault{}
	}
	path := hold(t, "a.ndjson", strings.Repeat("1\n", 50_000))
	var c console
	err := c.command(ctx, t, server, "send", path, "-c", "1")
	if err == nil {
		t.Fatal("no error")
	}
	contains(t, err.Error(), "stopped before "+path+":", "interrupted")
	contains(t, c.stdout.String(), fmt.Sprintf("sent %d,000 events", len(server.Events())/1000))
}

func TestSendRefusesFlags(t *testing.T) {
	t.Parallel()
	path := hold(t, "a.json", "1")
	for _, args := range [][]string{{"-c", "0"}, {"-c", "257"}, {"--retry-for=-1s"}, {"--ids", "--json"}, {"--url", "x"}} {
		var c console
		if err := c.command(t.Context(), t, nil, append([]string{"send", path}, args...)...); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
