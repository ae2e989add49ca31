package local

import (
	"context"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"penstock/ingest"
)

// TestMain lets the test binary be the worker that SQL runs in.
func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		if err := ServeSQL(os.Stdin, os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m,
		// fasthttp keeps one goroutine in a process that renders the Date header, and one that ends at its next look at
		// idle workers, up to 10 s later.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// Not parallel, so that no other test's goroutines come and go meanwhile.
func TestCloseLeavesNoGoroutine(t *testing.T) { //nolint:paralleltest // counts the process's goroutines
	before := goleak.IgnoreCurrent()
	s := mustOpen(t, testConfig(vfs.NewMem()))
	ended, cancel := context.WithCancel(t.Context())
	for range 100 {
		mustPut(t, s, recordIn(s, 0, "x"))
	}
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		_, _ = s.stream.Source().Read(context.Background(), s.stream.shards[0].id, "100", 1)
	}()
	cancel()
	_ = s.stream.Put(ended, []ingest.Record{recordIn(s, 0, "x")})
	mustClose(t, s)
	<-reading
	goleak.VerifyNone(t, before)
}
