package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Admin serves /metrics, /healthz and /readyz, without a key, to those who scrape and probe: nothing of a client's. A Server
// has one of its own (ServeAdmin); a process without a front end has it alone. Make one with NewAdmin.
type Admin struct {
	http     *http.Server
	ready    readiness
	stopping atomic.Bool
}

// NewAdmin makes an Admin that serves nothing yet. It starts no goroutine.
func NewAdmin(cfg Config, dependencies []Dependency, metrics http.Handler, logger *slog.Logger) *Admin {
	a := &Admin{ready: readiness{dependencies: dependencies, logger: logger}}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, mediaJSON, map[string]string{"status": "alive"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		p, checks := a.proven()
		if p != nil {
			w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
			respond(w, p.Status, mediaProblem, p)
			return
		}
		respond(w, http.StatusOK, mediaJSON, map[string]any{"status": "ready", "checks": checks})
	})
	a.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: cfg.HeaderTimeout,
		ReadTimeout:       cfg.HeaderTimeout,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    readBuffer,
	}
	return a
}

// Serve serves until Shutdown, and then returns nil.
func (a *Admin) Serve(ln net.Listener) error {
	if err := a.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin http on %s: %w", ln.Addr(), err)
	}
	return nil
}

// Shutdown waits until the requests under way are answered, and closes what is left when ctx ends.
func (a *Admin) Shutdown(ctx context.Context) error {
	a.stopping.Store(true)
	err := a.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, a.http.Close())
	}
	return err
}

// proven proves every dependency. The problem is nil when all of them are.
func (a *Admin) proven() (*Problem, []CheckResult) {
	if a.stopping.Load() {
		p := (&refusal{kind: draining, detail: "This process is shutting down."}).problem()
		return &p, nil
	}
	return a.ready.problem()
}

func respond(w http.ResponseWriter, status int, media string, document any) {
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document) // a client that is gone has nobody to tell
}
