package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"penstock/ingest"
)

// instant acks at once: what is measured is this package and fasthttp.
type instant struct{}

func (instant) Accept(context.Context, ingest.Submission, string) (ingest.Ack, bool, error) {
	return ingest.Ack{ID: "2ySTZ1b5kYzGDHfbMN3FhYzTQ7A", Via: "stream"}, false, nil
}

func (instant) AcceptBatch(context.Context, []ingest.Submission, []error, string) ([]ingest.Result, bool, error) {
	return nil, false, nil
}

func BenchmarkPost(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			fake := newStream()
			s, err := New(Defaults(), Deps{
				Ingest: instant{}, Budget: ingest.NewBudget(256 << 20), Index: fake, Bodies: newObjects(), Ledger: fake, Watermarks: fake,
				Queries: newQueries(b), Lake: lake{}, DeadLetters: letters{}, Requeuer: letters{}, Metrics: http.NotFoundHandler(),
				Observe: func(string, string, int, time.Duration) {}, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				b.Fatal(err)
			}
			ln, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- s.Serve(ln) }()
			request := fmt.Sprintf("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n"+
				"Content-Type: application/json\r\nce-type: order\r\nContent-Length: %d\r\n\r\n%q", size, strings.Repeat("x", size-2))
			b.SetBytes(int64(size))
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				c, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", ln.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close() //nolint:errcheck // end of benchmark
				r := bufio.NewReader(c)
				var answer fasthttp.Response
				for pb.Next() {
					if _, err := io.WriteString(c, request); err != nil {
						b.Error(err)
						return
					}
					if err := answer.Read(r); err != nil || answer.StatusCode() != 202 {
						b.Errorf("%v %s", err, answer.Body())
						return
					}
				}
			})
			b.StopTimer()
			if err := s.Shutdown(b.Context()); err != nil {
				b.Error(err)
			}
			if err := <-served; err != nil {
				b.Error(err)
			}
		})
	}
}
