package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"penstock/schemas"
)

const (
	// readyTimeout bounds the proof of one dependency.
	readyTimeout = 2 * time.Second
	// readyFor is how long a proof is shown again, so that anonymous probes can't load the dependencies.
	readyFor = 250 * time.Millisecond
)

// CheckResult is what became of the proof of one dependency.
type CheckResult struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
}

// readiness proves dependencies, and remembers the last proof.
type readiness struct {
	dependencies []Dependency
	logger       *slog.Logger

	mu     sync.Mutex
	at     time.Time
	checks []CheckResult
}

func (s *Server) getHealth(x *exchange) error {
	writeJSON(x.ctx, http.StatusOK, mediaJSON, map[string]string{"status": "alive"})
	return nil
}

func (s *Server) getReady(x *exchange) error {
	p, checks := s.admin.proven()
	if p != nil {
		writeProblem(x.ctx, *p)
		return nil
	}
	writeJSON(x.ctx, http.StatusOK, mediaJSON, map[string]any{"status": "ready", "checks": checks})
	return nil
}

// problem is nil when every dependency is proven.
func (r *readiness) problem() (*Problem, []CheckResult) {
	checks := r.prove()
	var failed []string
	for _, c := range checks {
		if !c.Ready {
			failed = append(failed, c.Name)
		}
	}
	if len(failed) > 0 {
		detail := "Not ready: " + strings.Join(failed, ", ") + ". The server's log says why."
		p := (&refusal{kind: notReady, detail: detail}).problem()
		p.Checks = checks
		return &p, nil
	}
	return nil, checks
}

// prove runs the checks at once, or gives the results of a moment ago. One caller runs them; the others wait for it.
func (r *readiness) prove() []CheckResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.checks != nil && time.Since(r.at) < readyFor {
		return r.checks
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	checks := make([]CheckResult, len(r.dependencies))
	var running sync.WaitGroup
	for i, d := range r.dependencies {
		running.Go(func() {
			err := d.Ready(ctx)
			checks[i] = CheckResult{Name: d.Name, Ready: err == nil}
			if err != nil {
				r.logger.Warn("dependency is not ready", slog.String("dependency", d.Name), slog.Any("error", err))
			}
		})
	}
	running.Wait()
	r.checks, r.at = checks, time.Now()
	return checks
}

func (s *Server) getMetrics(x *exchange) error {
	s.metrics(x.ctx)
	return nil
}

func (s *Server) getOpenAPI(x *exchange) error {
	x.ctx.Response.Header.SetContentType("application/yaml")
	x.ctx.Response.SetBodyRaw(schemas.OpenAPI)
	return nil
}
