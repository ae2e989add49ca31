package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"penstock/consumer/query"
	"penstock/consumer/query/sqllex"
)

// duckdbReport is an error as DuckDB words it with errors_as_json.
type duckdbReport struct {
	Type     string `json:"exception_type"`
	Message  string `json:"exception_message"`
	Position string `json:"position,omitempty"`
}

// maxReport bounds an error as it comes from DuckDB, in bytes: values that it quotes may be of any length.
const maxReport = 64 << 10

// shortened is an error that says the same in fewer than some maxReport bytes.
func (e *duckdbError) shortened() *duckdbError {
	if len(e.raw) <= maxReport {
		return e
	}
	r := parseDuckDBReport(e.raw)
	r.Message = shortenTo(maxReport/8, r.Message) // JSON may take six bytes for one
	raw, err := json.Marshal(r)
	if err != nil {
		return &duckdbError{r.Type + " Error: " + r.Message}
	}
	return &duckdbError{string(raw)}
}

// parseDuckDBReport reads an error of DuckDB: JSON, sometimes behind "Parser Error: ", sometimes followed by more.
func parseDuckDBReport(raw string) duckdbReport {
	var r duckdbReport
	if start := strings.IndexByte(raw, '{'); start >= 0 {
		decoder := json.NewDecoder(strings.NewReader(raw[start:]))
		if err := decoder.Decode(&r); err == nil && r.Type != "" {
			return r
		}
	}
	kind, message, found := strings.Cut(raw, " Error: ")
	if !found {
		return duckdbReport{Type: "Unknown", Message: raw}
	}
	return duckdbReport{Type: kind, Message: message}
}

// statementErrors are the kinds of error that come from the SQL, or from the values that it meets.
var statementErrors = []string{
	"Parser", "Syntax", "Binder", "Catalog", "Conversion", "Invalid Input", "Out of Range", "Mismatch Type", "Invalid Type",
	"Decimal", "Divide by Zero", "Expression", "Not implemented", "Parameter Not Resolved", "Parameter Not Allowed",
	"Permission", "Missing Extension", "Dependency",
}

// explain makes a client's error of one of DuckDB's: query.ErrStatement with line and column of the source,
// query.ErrLimit, or anything else as an internal error. limits words those of a run and is empty before there is one.
// secrets are paths that no client may see: an error that quotes one is about a file, so it is internal.
func (s *sqlStatement) explain(err error, limits string, secrets []string) error {
	var native *duckdbError
	switch {
	case errors.Is(err, errOutOfMemory):
		return exceeded(limits)
	case errors.Is(err, errKilled) && limits == "":
		return fmt.Errorf("%w: %w", query.ErrBusy, err)
	case errors.Is(err, errKilled):
		return fmt.Errorf("%w: %w", query.ErrLimit, err)
	}
	if !errors.As(err, &native) {
		return err
	}
	r := parseDuckDBReport(native.raw)
	secret := slices.ContainsFunc(secrets, func(path string) bool { return strings.Contains(r.Message, path) })
	switch {
	case r.outOfMemory():
		return exceeded(limits)
	case secret || !r.ofStatement():
		return fmt.Errorf("DuckDB: %s: %s", r.Type, r.Message)
	}
	message, _, _ := strings.Cut(r.Message, "\n\nLINE ")
	message = shortenTo(maxMessage, strings.TrimSpace(message))
	position, noPosition := strconv.Atoi(r.Position)
	if noPosition != nil || !s.startsToken(position) {
		return refuseSQL("%s", message)
	}
	line, column := s.place(s.origin(position))
	return refuseSQL("line %d, column %d: %s", line, column, message)
}

// outOfMemory knows an allocation that failed. That of a value that DuckDB does not count is told as C++ does; or, where one
// of several threads has met it, as an interrupt, and nobody interrupts a run: what is to end is killed.
func (r duckdbReport) outOfMemory() bool {
	return r.Type == "Out of Memory" || r.Type == "INTERRUPT" || !r.ofStatement() && strings.Contains(r.Message, "bad_alloc")
}

// ofStatement: the SQL, or a value that it met, is at fault.
func (r duckdbReport) ofStatement() bool { return slices.Contains(statementErrors, r.Type) }

func exceeded(limits string) error {
	if limits == "" {
		return refuseSQL("the statement takes too much memory before it runs: it, or a constant that it makes, is too large")
	}
	return fmt.Errorf("%w: the query needs more memory or temporary disk space than it may use (%s)", query.ErrLimit, limits)
}

// maxMessage bounds what an error may quote, in bytes: DuckDB quotes whole values, and a value can be a whole document.
const maxMessage = 1000

func shortenTo(limit int, message string) string {
	if len(message) <= limit {
		return message
	}
	return strings.ToValidUTF8(message[:limit], "") + "…"
}

// startsToken reports whether a token starts at the offset of the translated text. Where it doesn't, the offset is one
// inside a macro's body, which means nothing to the client.
func (s *sqlStatement) startsToken(offset int) bool {
	return slices.ContainsFunc(tokenize(s.text), func(t sqllex.Token) bool { return t.Start == offset })
}
