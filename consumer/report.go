package consumer

import (
	"errors"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// aged is what a report says when so much time has passed.
func (r Report) aged(by time.Duration) Report {
	by = max(by, 0)
	if r.LagKnown && !r.At.End {
		r.Lag += by
	}
	if r.Error != "" {
		r.ErrorAge += by
	}
	return r
}

// report tells of a shard that this process holds, from the worker's progress and from what the sink holds durably of it. When
// that is not known the report has neither a checkpoint nor a lag, but that a shard was read to its end is always known: its
// last batch was durable when it was delivered.
func (p progress) report(now time.Time, d Durable, known bool) Report {
	r := Report{Failing: p.err != nil && !errors.Is(p.err, ErrRewound)}
	switch {
	case p.at.End:
		r.At, r.LagKnown = p.at, true
	case known:
		r.At = d.At
		r.Lag, r.LagKnown = p.age(now, d)
	}
	if p.shown != "" {
		r.Error, r.ErrorAge = p.shown, now.Sub(p.failed)
	}
	return r
}

// age is the iterator age. What a sink has taken and does not hold durably is older than what is still to be read. Of that the
// oldest came after the shard was last read to its tip, or else after what was read last.
func (p progress) age(now time.Time, d Durable) (age time.Duration, known bool) {
	since := d.Pending
	switch {
	case !since.IsZero():
	case !p.tip.IsZero():
		since = p.tip
	default:
		since = p.reached()
	}
	return max(0, now.Sub(since)), !since.IsZero()
}

// noteError takes note of why the worker does not go on. That another worker was first is no trouble to tell of.
func (p *progress) noteError(err error, now time.Time) {
	p.err = err
	if !errors.Is(err, ErrRewound) {
		p.shown, p.failed = shown(err), now
	}
}

const (
	// maxShown is the most bytes of an error that is put where operators see it.
	maxShown = 300
	// maxQuoted is the longest quotation in it: a sequence number, the name of an object, an id.
	maxQuoted = 80
)

// What an error may quote. Ours quote neither bodies nor keys, but AWS's quote the value that they refuse ("1 validation error
// detected: Value '…' at 'requestItems' failed to satisfy constraint"), and access keys.
var (
	refusedValue = regexp.MustCompile(`(?s)Value '.*' at '`)
	braces       = regexp.MustCompile(`(?s)\{.*\}`)
	quotation    = regexp.MustCompile(`(?s)"(?:[^"\\]|\\.)*"|(?:^|[\s=:,(\[])'[^']*'`) // and no apostrophe
	accessKey    = regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{12,}`)
)

// shown is an error as one short line that may be shown to whoever may see how a fleet does, but may not see what passes
// through it: what might be data is left out.
func shown(err error) string {
	text := refusedValue.ReplaceAllString(err.Error(), "Value … at '")
	text = braces.ReplaceAllString(text, "{…}")
	text = accessKey.ReplaceAllString(text, "…")
	text = quotation.ReplaceAllStringFunc(text, func(quoted string) string {
		if len(quoted) <= maxQuoted {
			return quoted
		}
		open := strings.IndexAny(quoted, `"'`)
		return quoted[:open+1] + "…" + quoted[open:open+1]
	})
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if text = strings.ToValidUTF8(text, "�"); len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown-len("…")], "") + "…"
	}
	return text
}
