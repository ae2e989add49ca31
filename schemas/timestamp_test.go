package schemas

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseTimestamp(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"2026-11-22T10:15:30Z":                "2026-11-22T10:15:30Z",
		"2026-11-22t10:15:30z":                "2026-11-22T10:15:30Z",
		"2024-02-29T23:59:59.5+01:00":         "2024-02-29T23:59:59.5+01:00",
		"2026-11-22T10:15:30.123456789-23:59": "2026-11-22T10:15:30.123456789-23:59",
		"2026-11-22T10:15:30.100000000+05:30": "2026-11-22T10:15:30.1+05:30",
		"2000-02-29T00:00:00Z":                "2000-02-29T00:00:00Z",
		"2026-11-22T10:15:30-00:00":           "2026-11-22T10:15:30Z",
		"0001-01-01T00:00:00Z":                "0001-01-01T00:00:00Z",
		"9999-12-31T23:59:59.999999999Z":      "9999-12-31T23:59:59.999999999Z",
	} {
		got, err := parseTimestamp(s)
		if err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%s: got %v, %v, want %s", s, got, err, want)
		}
		if back, err := parseTimestamp(want); err != nil || !back.Equal(got) {
			t.Errorf("%s: came back as %v, %v", want, back, err)
		}
	}
	for _, s := range []string{"", "2026-11-22", "2026-11-22T10:15Z", "2026-11-22 10:15:30Z", "2026-11-22T10:15:30",
		"2026-11-22T10:15:30.Z", "2026-11-22T10:15:30,5Z", "2026-11-22T10:15:30.1234567890Z", "2026-11-22T24:00:00Z",
		"2026-11-22T10:60:30Z", "2026-11-22T10:15:60Z", "2026-13-22T10:15:30Z", "2026-00-22T10:15:30Z",
		"2026-11-31T10:15:30Z", "2026-11-00T10:15:30Z", "2023-02-29T10:15:30Z", "2100-02-29T10:15:30Z", "2026-04-31T10:15:30Z", "0000-01-01T00:00:00Z",
		"0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "2026-11-22T10:15:30+24:00", "2026-11-22T10:15:30+01:60",
		"2026-11-22T10:15:30+0100", "2026-11-22T10:15:30+01", "2026-11-22T10:15:30ZZ", "+026-11-22T10:15:30Z",
		"2026-11-22T1:15:30Z0", "２026-11-22T10:15:30Z"} {
		if got, err := parseTimestamp(s); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
}

// What time.Format writes is read as the same instant in the same zone.
func TestParseTimestampAgainstTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := time.FixedZone("", 60*rapid.IntRange(-23*60-59, 23*60+59).Draw(t, "zone in minutes"))
		want := time.Unix(rapid.Int64Range(-62_000_000_000, 253_000_000_000).Draw(t, "second"),
			rapid.Int64Range(0, 999_999_999).Draw(t, "nanosecond")).In(zone)
		text := want.Format(time.RFC3339Nano)
		got, err := parseTimestamp(text)
		if err != nil || !got.Equal(want) || got.Format(time.RFC3339Nano) != text {
			t.Fatalf("%s: got %v, %v", text, got, err)
		}
		micros := want.Truncate(time.Microsecond)
		got, err = parseTimestamp(string(appendMicroseconds(nil, want)))
		if err != nil || !got.Equal(micros) || got.Location() != time.UTC {
			t.Fatalf("%v: in microseconds %v, %v", want, got, err)
		}
	})
}

// rfc3339 is the grammar, but for leap seconds, and for days that their month may not have.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// What is read is of the grammar, time.Parse reads it as the same instant in the same zone, and nothing else of the years 1
// to 9999 is refused.
func FuzzParseTimestamp(f *testing.F) {
	for _, seed := range []string{"", "2026-11-22T10:15:30Z", "2024-02-29t23:59:59.123456789+23:59", "2023-02-29T10:15:30Z",
		"0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.9-00:01", "2026-11-22T10:15:60Z", "2026-11-22T10:15:30,5Z",
		"0000-12-31T23:59:59-00:01", "2026-1-22T1:15:30Z", "2026-11-22T10:15:30.1234567890Z", "2026-11-22T10:15:30-00:00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTimestamp(s)
		want, oracleErr := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
		year, utc := want.Year(), want.UTC().Year()
		valid := rfc3339.MatchString(s) && oracleErr == nil && min(year, utc) >= 1 && max(year, utc) <= 9999
		switch {
		case (err == nil) != valid:
			t.Fatalf("%q: %v, %v; a timestamp: %t (%v)", s, got, err, valid, oracleErr)
		case valid && (!got.Equal(want) || got.Format(time.RFC3339Nano) != want.Format(time.RFC3339Nano)):
			t.Fatalf("%q is %v, want %v", s, got, want)
		case !valid:
			return
		}
		again, err := parseTimestamp(got.Format(time.RFC3339Nano))
		if err != nil || !again.Equal(got) {
			t.Fatalf("%q: %v was read again as %v, %v", s, got, again, err)
		}
	})
}
