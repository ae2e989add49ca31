package main

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pipeServer answers requests on in-memory connections; stall is how long it waits before the answer to its first request.
func pipeServer(answer string, stall time.Duration) func(context.Context) (net.Conn, error) {
	var served atomic.Int64
	return func(context.Context) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			reader := bufio.NewReader(server)
			for {
				if _, err := http.ReadRequest(reader); err != nil {
					_ = server.Close()
					return
				}
				if served.Add(1) == 1 {
					<-time.After(stall)
				}
				if _, err := server.Write([]byte(answer)); err != nil {
					return
				}
			}
		}()
		return client, nil
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\nX: y\r\n\r\n{}"

func loadOn(dial func(context.Context) (net.Conn, error), rate float64) *load {
	return &load{dial, 1, [][]byte{request("GET", "/", "", nil)}, http.StatusOK, rate}
}

// A stall of a second must show in every request that was due while it lasted, not in the one alone that met it.
func TestOpenLoopChargesAStallToAllThatItHeldUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := loadOn(pipeServer(okAnswer, time.Second), 100).round(t.Context(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.latencies) != 1000 {
			t.Errorf("%d requests in 10 s at 100/s", len(s.latencies))
		}
		if got := s.quantile(1); got != time.Second {
			t.Errorf("the longest latency is %v, want 1s", got)
		}
		// 100 requests were due in the stalled second, each waiting 10 ms less than the one before.
		if got := s.quantile(0.95); got != 500*time.Millisecond {
			t.Errorf("p95 is %v, want 500ms", got)
		}
		if got := s.quantile(0.90); got != 0 {
			t.Errorf("p90 is %v, want 0", got)
		}
	})
}

func TestLoadRefusesWrongAnswers(t *testing.T) {
	t.Parallel()
	for want, answer := range map[string]string{
		"answered 503, not 200: no room": "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 7\r\n\r\nno room",
		"without a length":               "HTTP/1.1 200 OK\r\nX: y\r\n\r\n",
		"is no status line":              "ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		_, err := loadOn(pipeServer(answer, 0), 0).round(t.Context(), time.Second)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("answer %q: error %v, want %q", answer, err, want)
		}
	}
}

func TestRoundEndsWhenTheServerHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := loadOn(pipeServer(okAnswer, time.Hour), 0).round(t.Context(), time.Second)
		if err == nil || time.Since(began) != time.Second+lateness {
			t.Errorf("error %v after %v", err, time.Since(began))
		}
		<-time.After(time.Hour) // the pipe's server wakes and finds its client gone
	})
}
