package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
)

// Explain says for people what went wrong, where, and what to do, in one or two lines.
func Explain(err error) string {
	var transport *TransportError
	var problem *Problem
	switch {
	case errors.As(err, &transport):
		return transport.explain()
	case errors.As(err, &problem):
		if advice := problem.advice(); advice != "" {
			return err.Error() + "\n" + advice
		}
	case errors.Is(err, context.Canceled):
		return "interrupted"
	}
	return err.Error()
}

func (e *TransportError) explain() string {
	switch {
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens at %s (connection refused)\nStart a server with `penstock local`, or say where it is with --url or PENSTOCK_URL.", e.URL)
	case e.Unreached():
		return fmt.Sprintf("%s can't be reached: %v\nCheck --url and PENSTOCK_URL.", e.URL, e.Err)
	case errors.Is(e.Err, context.Canceled):
		return fmt.Sprintf("interrupted before %s had answered", e.URL)
	}
	return e.Error()
}

// advice is what the problem's own detail can't know: how this program is told.
func (p *Problem) advice() string {
	switch {
	case p.Status == http.StatusUnauthorized:
		return "Set the API key in PENSTOCK_KEY, or with --key."
	case p.Status == http.StatusNotFound && p.Type == "":
		return "Is this the URL of Penstock? Check --url and PENSTOCK_URL."
	case p.Kind() == "event-pending":
		return "If the id came from an ack the event is safe: ask again, with a longer --wait."
	}
	return ""
}
