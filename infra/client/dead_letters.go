package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"penstock/schemas"
)

// pageSize is how many dead letters are asked for at once.
const pageSize = 500

// DeadLetter is a record that a sink could not take.
type DeadLetter struct {
	Sink     string    `json:"sink"`
	Shard    string    `json:"shard"`
	Position string    `json:"position"`
	Arrived  time.Time `json:"arrived"`
	Reason   string    `json:"reason"`
	Size     int64     `json:"size"`
	// Raw is the record; only GetDeadLetter fills it.
	Raw []byte `json:"raw,omitempty"`
}

// Place is shard/sequence/sub, which together with the sink names the letter.
func (d *DeadLetter) Place() string { return d.Shard + "/" + d.Position }

// DeadLetters lists a sink's letters in order, page by page. after is the Place to begin behind, or empty. It ends with
// the first error.
func (c *Client) DeadLetters(ctx context.Context, sink, after string) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		for {
			query := url.Values{"sink": {sink}, "limit": {strconv.Itoa(pageSize)}}
			if after != "" {
				query.Set("after", after)
			}
			var page struct {
				Items []DeadLetter
				Next  string
			}
			err := c.read(ctx, request{method: http.MethodGet, path: []string{"v1", "dead-letters"}, query: query}, &page, http.StatusOK)
			if err != nil {
				yield(DeadLetter{}, fmt.Errorf("list dead letters of %s: %w", sink, err))
				return
			}
			for _, letter := range page.Items {
				if !yield(letter, nil) {
					return
				}
			}
			if page.Next == "" || page.Next == after {
				return
			}
			after = page.Next
		}
	}
}

// GetDeadLetter reads one with its bytes.
func (c *Client) GetDeadLetter(ctx context.Context, sink, place string) (DeadLetter, error) {
	var letter DeadLetter
	path, err := letterPath(sink, place)
	if err != nil {
		return letter, err
	}
	if err := c.read(ctx, request{method: http.MethodGet, path: path}, &letter, http.StatusOK); err != nil {
		return letter, fmt.Errorf("get dead letter %s of %s: %w", place, sink, err)
	}
	return letter, nil
}

// Requeue feeds one to its sink again; it is gone from the dead letters once the sink has taken it.
func (c *Client) Requeue(ctx context.Context, sink, place string) error {
	path, err := letterPath(sink, place)
	if err != nil {
		return err
	}
	res, err := c.call(ctx, request{method: http.MethodPost, path: append(path, "requeue")},
		http.StatusOK, http.StatusAccepted, http.StatusNoContent)
	if err != nil {
		return fmt.Errorf("requeue dead letter %s of %s: %w", place, sink, err)
	}
	return res.Body.Close()
}

// letterPath takes a place apart from its end: a shard's name may hold anything.
func letterPath(sink, place string) ([]string, error) {
	cut := strings.LastIndexByte(place, '/')
	if cut > 0 {
		cut = strings.LastIndexByte(place[:cut], '/')
	}
	if cut > 0 {
		if p, err := schemas.ParsePosition(place[cut+1:]); err == nil && !p.IsZero() {
			sequence, sub, _ := strings.Cut(place[cut+1:], "/")
			return []string{"v1", "dead-letters", url.PathEscape(sink), url.PathEscape(place[:cut]), sequence, sub}, nil
		}
	}
	return nil, fmt.Errorf("%q is not the place of a dead letter: it must be SHARD/SEQUENCE/SUB as `penstock dlq list` shows it", place)
}
