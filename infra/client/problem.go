package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxProblem bounds what is read of an answer that is not the wanted one.
const maxProblem = 64 << 10

// Problem is the server's refusal, RFC 9457. One without a problem document (a proxy's) has the status as its Title.
type Problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title,omitempty"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Offset is the byte of the body at which it went wrong.
	Offset *int64 `json:"offset,omitempty"`
	// Line is the 1-based line of a batch.
	Line int `json:"line,omitempty"`
	// Limit is the bound that was exceeded.
	Limit *int64 `json:"limit,omitempty"`
	// RetryAfter is how many seconds the server asked to wait; 0 when it didn't.
	RetryAfter float64 `json:"retryAfter,omitempty"`
}

func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d ", p.Status)
	switch {
	case p.Detail == "":
		b.WriteString(p.Title)
	case p.Title == "" || strings.HasPrefix(p.Detail, p.Title):
		b.WriteString(p.Detail)
	default:
		b.WriteString(p.Title + ": " + p.Detail)
	}
	if p.Offset != nil && !strings.Contains(p.Detail, "offset") && !strings.Contains(p.Detail, "byte") {
		fmt.Fprintf(&b, " (at byte %d)", *p.Offset)
	}
	return b.String()
}

// Kind is the last segment of the problem's type, such as "event-pending".
func (p *Problem) Kind() string { return path.Base(p.Type) }

// Transient reports whether the same request may succeed later. A 409 that says when to come back is the answer to a key
// whose first request is still under way, which after a lost answer is our own.
func (p *Problem) Transient() bool {
	switch p.Status {
	case http.StatusConflict:
		return p.RetryAfter > 0
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// wait is how long the server asked to wait.
func (p *Problem) wait() time.Duration { return time.Duration(p.RetryAfter * float64(time.Second)) }

func (p *Problem) clean() { p.Type, p.Title, p.Detail = clean(p.Type), clean(p.Title), clean(p.Detail) }

// clean takes out what could steer a terminal: the text is the server's, or worse, another client's. Line breaks stay, since
// a parser's message may point at a place by them.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf) {
			return ' '
		}
		return r
	}, s)
}

// readProblem reads and closes an unwanted answer.
func readProblem(res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxProblem)) // of what is not whole the status says enough
	_ = res.Body.Close()                                        // the answer is refused anyway
	return problemOf(res, body)
}

func problemOf(res *http.Response, body []byte) *Problem {
	p := &Problem{}
	if err := json.Unmarshal(body, p); err != nil || (p.Title == "" && p.Detail == "") {
		*p = Problem{Title: http.StatusText(res.StatusCode)}
		if p.Title == "" {
			p.Title = "unexpected answer"
		}
		if location := res.Header.Get("Location"); location != "" && res.StatusCode/100 == 3 {
			p.Detail = "it points to " + location + "; use that as the URL"
		}
	}
	p.Status = res.StatusCode
	if header, ok := parseRetryAfter(res.Header.Get("Retry-After"), time.Now()); ok {
		p.RetryAfter = header.Seconds()
	}
	p.clean()
	return p
}

// parseRetryAfter reads the header: seconds or a date (RFC 9110, section 10.2.3).
func parseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 && seconds < 1<<31 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}
