package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// newAdmin makes the second listener's server: metrics and probes, for those who scrape, and nothing of a client's.
func (s *Server) newAdmin() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.deps.Metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, mediaJSON, map[string]string{"status": "alive"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		p, checks := s.ready()
		if p != nil {
			w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
			respond(w, p.Status, mediaProblem, p)
			return
		}
		respond(w, http.StatusOK, mediaJSON, map[string]any{"status": "ready", "checks": checks})
	})
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		ReadTimeout:       s.cfg.HeaderTimeout,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       s.cfg.IdleTimeout,
		MaxHeaderBytes:    readBuffer,
	}
}

func respond(w http.ResponseWriter, status int, media string, document any) {
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document) // a client that is gone has nobody to tell
}
