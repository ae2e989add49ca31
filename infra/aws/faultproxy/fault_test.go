package faultproxy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	gluetypes "github.com/aws/aws-sdk-go-v2/service/glue/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

func empty(string) string { return "{}" }

// updateTable is a call whose answer says nothing but that it was done.
func updateTable(ctx context.Context, p *proxied) error {
	_, err := p.glue.UpdateTable(ctx, &glue.UpdateTableInput{
		DatabaseName: sdk.String("lake"), TableInput: &gluetypes.TableInput{Name: sdk.String("events")},
	})
	return err
}

// seen is what a client knows about a call: the status, 0 for none, and the error code.
func seen(err error) (int, string) {
	var answer *awshttp.ResponseError
	var api smithy.APIError
	status, code := 0, ""
	switch {
	case err == nil:
		status = http.StatusOK
	case errors.As(err, &answer) && answer.Response != nil && answer.Response.Response != nil:
		status = answer.HTTPStatusCode()
	}
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	return status, code
}

// What each fault shows the client, and whether the request reaches the peer.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault  Fault
		status int
		code   string
		landed int
	}{
		"none":         {Fault{befall: pass}, 200, "", 1},
		"error before": {ErrorBefore(500, "InternalServiceException"), 500, "InternalServiceException", 0},
		"error after":  {ErrorAfter(503, "ServiceUnavailable"), 503, "ServiceUnavailable", 1},
		"cut":          {Cut(), 0, "", 0},
		"lose answer":  {LoseAnswer(), 0, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peer := newBackend(t, empty)
			p := before(t, peer.url)
			p.Set(Rule{Service: Glue, Operation: "UpdateTable", When: Nth(2), Do: test.fault})
			for n, want := range []int{200, test.status, 200} {
				status, code := seen(updateTable(t.Context(), p))
				if status != want || (n == 1 && code != test.code) {
					t.Errorf("call %d: the client sees %d %q, want %d %q", n+1, status, code, want, test.code)
				}
			}
			if got := len(peer.landed()); got != 2+test.landed {
				t.Errorf("%d requests reached the peer, want %d", got, 2+test.landed)
			}
			want := Call{Service: Glue, Operation: "UpdateTable", Resource: "lake.events", Fault: test.fault.name, Status: test.status}
			if got := p.Calls(); len(got) != 3 || got[1] != want {
				t.Errorf("recorded %v, want the second to be %v", got, want)
			}
		})
	}
}

// The original lands when its time has come, not before, and after its own retry.
func TestForwardLater(t *testing.T) {
	t.Parallel()
	peer := newBackend(t, empty)
	p := before(t, peer.url)
	p.Set(Rule{When: First(1), Do: CutAndForwardLater(4 * time.Minute)})
	for _, want := range []int{0, 200} { // the original, and its retry
		if status, _ := seen(updateTable(t.Context(), p)); status != want {
			t.Fatalf("the client sees %d, want %d", status, want)
		}
	}
	p.clock.Advance(4*time.Minute - 1)
	if got := len(peer.landed()); got != 1 {
		t.Fatalf("%d requests have reached the peer before the time, want 1", got)
	}
	p.clock.Advance(1)
	p.Wait()
	if got := peer.landed(); len(got) != 2 || got[0] != got[1] {
		t.Errorf("reached the peer: %q, want the same twice", got)
	}
}

// A proxy that is closed forgets what has not landed.
func TestCloseForgetsLateRequests(t *testing.T) {
	t.Parallel()
	peer := newBackend(t, empty)
	p := before(t, peer.url)
	p.Set(Rule{When: Always(), Do: CutAndForwardLater(time.Hour)})
	if status, _ := seen(updateTable(t.Context(), p)); status != 0 {
		t.Fatalf("the client sees %d, want nothing", status)
	}
	p.Close()
	p.clock.Advance(time.Hour)
	if got := peer.landed(); len(got) != 0 {
		t.Errorf("reached the peer: %q", got)
	}
}

// Delays hold the request back, or only its answer.
func TestDelays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault  Fault
		landed int // while the client waits
	}{
		"before": {Delay(time.Minute), 0},
		"answer": {DelayAnswer(time.Minute), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peer := newBackend(t, empty)
			p := before(t, peer.url)
			p.Set(Rule{When: Always(), Do: test.fault})
			ended := make(chan error, 1)
			go func() { ended <- updateTable(t.Context(), p) }()
			await(t, "nobody waits for the clock", func() bool { return p.clock.Waiting() > 0 })
			if got := len(peer.landed()); got != test.landed {
				t.Errorf("%d requests have reached the peer, want %d", got, test.landed)
			}
			p.clock.Advance(time.Minute)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if got := len(peer.landed()); got != 1 {
				t.Errorf("%d requests have reached the peer at the end, want 1", got)
			}
		})
	}
}

// A request whose client has given up lands all the same.
func TestGivenUpIsNotTakenBack(t *testing.T) {
	t.Parallel()
	peer := newBackend(t, empty)
	p := before(t, peer.url)
	p.Set(Rule{When: Always(), Do: Delay(time.Minute)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- updateTable(ctx, p) }()
	await(t, "nobody waits for the clock", func() bool { return p.clock.Waiting() > 0 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	p.clock.Advance(time.Minute)
	await(t, "the request does not land", func() bool { return len(peer.landed()) == 1 })
}

// The same seed decides the same, another one differently, and about as often as was asked.
func TestChanceIsRepeatable(t *testing.T) {
	t.Parallel()
	outcomes := func(seed uint64) []bool {
		p := &Proxy{seed: seed}
		p.Set(Rule{When: Chance(0.25), Do: Cut()})
		var all []bool
		for range 1000 {
			x := exchange{request: &request{}, proxy: p}
			all = append(all, p.befalls(&x).name == "cut")
		}
		return all
	}
	first := outcomes(1)
	if !slices.Equal(first, outcomes(1)) {
		t.Error("one seed, two runs")
	}
	if slices.Equal(first, outcomes(2)) {
		t.Error("two seeds, one run")
	}
	cut := 0
	for _, is := range first {
		if is {
			cut++
		}
	}
	if cut < 200 || cut > 300 {
		t.Errorf("%d of 1000 calls were cut, want about 250", cut)
	}
}

// Errors of S3 are XML; they too are the service's own to the client.
func TestS3Error(t *testing.T) {
	t.Parallel()
	p := before(t, newBackend(t, empty).url)
	p.Set(Rule{Service: S3, Operation: "GetObject", When: Always(), Do: ErrorBefore(503, "SlowDown")})
	_, err := p.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: sdk.String("b"), Key: sdk.String("k")})
	if status, code := seen(err); status != 503 || code != "SlowDown" {
		t.Errorf("the client sees %d %q: %v", status, code, err)
	}
}

// The peer sees the host that the client has signed.
func TestHostIsKept(t *testing.T) {
	t.Parallel()
	peer := newBackend(t, empty)
	p := before(t, peer.url)
	if err := updateTable(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if "http://"+peer.host == peer.url {
		t.Errorf("the peer sees %s, its own address", peer.host)
	}
}
