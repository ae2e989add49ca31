package schemas

import (
	"errors"
	"time"
)

// errTimestamp says what parseTimestamp reads.
var errTimestamp = errors.New("must be an RFC 3339 timestamp of the years 1 to 9999, to the nanosecond at most, " +
	"as in 2026-01-31T23:59:59.123456789+01:00")

// parseTimestamp reads an RFC 3339 timestamp and keeps its offset. It is stricter than time.Parse, which takes a comma,
// one-digit hours and drops digits below the nanosecond, and whose result depends on the machine's own time zone. A leap
// second (:60) has no time.Time and is refused.
func parseTimestamp(s string) (time.Time, error) {
	// 2006-01-02T15:04:05 and at least a Z
	if len(s) < 20 || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return time.Time{}, errTimestamp
	}
	year, ok1 := number(s[0:4], 9999)
	month, ok2 := number(s[5:7], 12)
	day, ok3 := number(s[8:10], 31)
	hour, ok4 := number(s[11:13], 23)
	minute, ok5 := number(s[14:16], 59)
	second, ok6 := number(s[17:19], 59)
	nanosecond, rest, ok7 := fraction(s[19:])
	location, ok8 := offset(rest)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || !ok7 || !ok8 {
		return time.Time{}, errTimestamp
	}
	if year < 1 || month < 1 || day < 1 || day > daysIn(year, time.Month(month)) {
		return time.Time{}, errTimestamp
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanosecond, location)
	if year == 1 || year == 9999 { // the only years in which UTC may have another one that is out of range
		if utc := t.UTC().Year(); utc < 1 || utc > 9999 {
			return time.Time{}, errTimestamp
		}
	}
	return t, nil
}

func daysIn(year int, month time.Month) int {
	switch month {
	case time.April, time.June, time.September, time.November:
		return 30
	case time.February:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	default:
		return 31
	}
}

// number reads a number of digits alone, not above limit.
func number(s string, limit int) (n int, ok bool) {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, n <= limit
}

// fraction reads the fraction of a second, if there is one, of at most nine digits.
func fraction(s string) (nanosecond int, rest string, ok bool) {
	if s == "" || s[0] != '.' {
		return 0, s, true
	}
	scale, i := 1_000_000_000, 1
	for ; i < len(s) && isDigit(s[i]); i++ {
		if scale == 1 {
			return 0, s, false
		}
		scale /= 10
		nanosecond += int(s[i]-'0') * scale
	}
	return nanosecond, s[i:], i > 1
}

// offset reads "Z" or "+hh:mm", "-hh:mm".
func offset(s string) (*time.Location, bool) {
	if s == "Z" || s == "z" {
		return time.UTC, true
	}
	if len(s) != 6 || (s[0] != '+' && s[0] != '-') || s[3] != ':' {
		return nil, false
	}
	hours, ok1 := number(s[1:3], 23)
	minutes, ok2 := number(s[4:6], 59)
	seconds := hours*3600 + minutes*60
	switch {
	case !ok1 || !ok2:
		return nil, false
	case seconds == 0:
		return time.UTC, true
	case s[0] == '-':
		seconds = -seconds
	}
	return time.FixedZone("", seconds), true
}

// appendMicroseconds appends t in UTC with exactly six digits after the point, so that such times sort as text.
func appendMicroseconds(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	for _, part := range [...]struct {
		value, width int
		after        byte
	}{
		{year, 4, '-'}, {int(month), 2, '-'}, {day, 2, 'T'}, {hour, 2, ':'}, {minute, 2, ':'}, {second, 2, '.'},
		{t.Nanosecond() / 1000, 6, 'Z'},
	} {
		dst = append(appendPadded(dst, uint64(part.value), part.width), part.after)
	}
	return dst
}
