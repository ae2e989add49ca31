package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"penstock/consumer"
	"penstock/schemas"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

// deadLetter is one as the API shows it; Raw is in base64, since it need not be text, and only in the answer to a GET of
// that one.
type deadLetter struct {
	Sink     string `json:"sink"`
	Shard    string `json:"shard"`
	Position string `json:"position"`
	Arrived  string `json:"arrived"`
	Reason   string `json:"reason"`
	Size     int    `json:"size"`
	Raw      []byte `json:"raw,omitempty"`
	Href     string `json:"href"`
}

// listDeadLetters answers with a page of a sink's letters; "next" of the answer is "after" of the next request.
func (s *Server) listDeadLetters(x *exchange) error {
	arguments := x.ctx.QueryArgs()
	sink := string(arguments.Peek("sink"))
	if err := checkSink(sink); err != nil {
		return err
	}
	limit := defaultPage
	if text := string(arguments.Peek("limit")); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return outOfBounds("limit", 1, maxPage)
		}
	}
	var afterShard string
	var after schemas.Position
	if text := string(arguments.Peek("after")); text != "" {
		shard, position, ok := strings.Cut(text, "/")
		parsed, err := schemas.ParsePosition(position)
		if !ok || err != nil {
			return refuse(invalidParameter, `after must be the "next" of an earlier answer: shard/sequence/sub.`)
		}
		afterShard, after = shard, parsed
	}
	ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
	defer cancel()
	letters, err := s.deps.DeadLetters.List(ctx, sink, afterShard, after, limit)
	if err != nil {
		return err
	}
	page := struct {
		Items []deadLetter `json:"items"`
		Next  string       `json:"next,omitempty"`
	}{Items: make([]deadLetter, len(letters))}
	size := 0
	for i := range letters {
		page.Items[i] = letterOf(&letters[i])
		size += textAnswer + escaped*len(letters[i].Reason)
	}
	if n := len(letters); n == limit {
		page.Next = letters[n-1].Shard + "/" + letters[n-1].Position.String()
	}
	return s.answerJSON(x, size, page)
}

func (s *Server) getDeadLetter(x *exchange) error {
	sink, shard, position, err := letterPlace(x)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
	defer cancel()
	hold, err := s.answerRoom(ctx, letterAnswer)
	if err != nil {
		return err
	}
	letter, err := s.deps.DeadLetters.Get(ctx, sink, shard, position)
	if err != nil {
		hold.Release()
		return unknownLetter(err)
	}
	shown := letterOf(&letter)
	shown.Raw = letter.Raw
	setHead(x.ctx, http.StatusOK, mediaJSON)
	setBody(x, encode(shown), hold, letterAnswer)
	return nil
}

// requeueDeadLetter answers 204 once the sink has taken the record.
func (s *Server) requeueDeadLetter(x *exchange) error {
	sink, shard, position, err := letterPlace(x)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
	defer cancel()
	err = s.deps.Requeuer.Requeue(ctx, sink, shard, position)
	if errors.Is(err, schemas.ErrCorrupt) || errors.Is(err, consumer.ErrRefused) {
		return refuse(refusedAgain, "The record stays among the dead letters: "+err.Error()+".")
	}
	if errors.Is(err, consumer.ErrNotFound) {
		// What is not there may also be the event's body: then the letter still is.
		if _, getErr := s.deps.DeadLetters.Get(ctx, sink, shard, position); getErr == nil {
			return refuse(refusedAgain, "The record stays among the dead letters: the body that it refers to is not there.")
		}
	}
	if err != nil {
		return unknownLetter(err)
	}
	x.ctx.Response.SetStatusCode(http.StatusNoContent)
	return nil
}

// letterPlace reads /v1/dead-letters/{sink}/{shard}/{sequence}/{sub}.
func letterPlace(x *exchange) (sink, shard string, p schemas.Position, err error) {
	sink = x.param("sink")
	if err := checkSink(sink); err != nil {
		return "", "", p, err
	}
	if shard, err = url.PathUnescape(x.param("shard")); err != nil {
		return "", "", p, refuse(invalidParameter, "The shard in the path is not well percent-encoded.")
	}
	if p, err = schemas.ParsePosition(x.param("sequence") + "/" + x.param("sub")); err != nil {
		return "", "", p, refuse(invalidParameter, "The path must end with a position, sequence/sub, both of them numbers.")
	}
	return sink, shard, p, nil
}

func checkSink(sink string) error {
	if sink != consumer.IndexSinkName && sink != consumer.LakeSinkName {
		return refuse(invalidParameter, "sink must be "+consumer.IndexSinkName+" or "+consumer.LakeSinkName+".")
	}
	return nil
}

func letterOf(d *consumer.DeadLetter) deadLetter {
	return deadLetter{
		Sink: d.Sink, Shard: d.Shard, Position: d.Position.String(), Arrived: formatTime(d.Arrived), Reason: d.Reason,
		Size: d.Size, Href: "/v1/dead-letters/" + d.Sink + "/" + url.PathEscape(d.Shard) + "/" + d.Position.String(),
	}
}

// unknownLetter says what is not there.
func unknownLetter(err error) error {
	if errors.Is(err, consumer.ErrNotFound) {
		return refuse(deadLetterUnknown, "There is none at this position; perhaps it was fed to its sink again.")
	}
	return err
}
