package local

import (
	"fmt"
	"strings"

	"penstock/consumer/query/sqllex"
)

// mysqlVerbs maps the specifiers of Trino's date_format and date_parse to strftime's
// (https://trino.io/docs/current/functions/datetime.html#mysql-date-functions).
var mysqlVerbs = map[byte]string{
	'a': "%a", 'b': "%b", 'c': "%-m", 'd': "%d", 'e': "%-d", 'f': "%f", 'H': "%H", 'h': "%I", 'I': "%I", 'i': "%M", 'j': "%j",
	'k': "%-H", 'l': "%-I", 'M': "%B", 'm': "%m", 'p': "%p", 'r': "%I:%M:%S %p", 'S': "%S", 's': "%S", 'T': "%H:%M:%S",
	'W': "%A", 'Y': "%Y", 'y': "%y", '%': "%%",
}

// mysqlFormat translates a format of date_format or date_parse.
func mysqlFormat(format string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			out.WriteByte(format[i])
			continue
		}
		i++
		if i == len(format) {
			return "", fmt.Errorf("format '%s' ends with a lone %%", format)
		}
		verb, ok := mysqlVerbs[format[i]]
		if !ok {
			return "", fmt.Errorf("%%%c in format '%s' is not supported", format[i], format)
		}
		out.WriteString(verb)
	}
	return out.String(), nil
}

// jodaVerbs maps runs of letters in Joda's patterns to strftime's
// (https://www.joda.org/joda-time/apidocs/org/joda/time/format/DateTimeFormat.html).
var jodaVerbs = map[string]string{
	"yyyy": "%Y", "YYYY": "%Y", "y": "%Y", "Y": "%Y", "yy": "%y", "YY": "%y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%-m",
	"dd": "%d", "d": "%-d", "DDD": "%j", "HH": "%H", "H": "%-H", "hh": "%I", "h": "%-I", "mm": "%M", "m": "%-M", "ss": "%S",
	"s": "%-S", "SSS": "%g", "SSSSSS": "%f", "EEEE": "%A", "EEE": "%a", "EE": "%a", "E": "%a", "a": "%p",
}

// jodaFormat translates a pattern of format_datetime or parse_datetime.
func jodaFormat(pattern string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(pattern); {
		switch c := pattern[i]; {
		case c == '\'': // text in quotes; two quotes are one, inside and outside of such text
			end := sqllex.AfterText(pattern, i)
			if end-i < 2 || pattern[end-1] != '\'' {
				return "", fmt.Errorf("pattern '%s' has a quote that does not close", pattern)
			}
			literal := strings.ReplaceAll(pattern[i+1:end-1], "''", "'")
			if literal == "" {
				literal = "'"
			}
			out.WriteString(strings.ReplaceAll(literal, "%", "%%"))
			i = end
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			end := i
			for end < len(pattern) && pattern[end] == c {
				end++
			}
			verb, ok := jodaVerbs[pattern[i:end]]
			if !ok {
				return "", fmt.Errorf("%s in pattern '%s' is not supported", pattern[i:end], pattern)
			}
			out.WriteString(verb)
			i = end
		case c == '%':
			out.WriteString("%%")
			i++
		default:
			out.WriteByte(c)
			i++
		}
	}
	return out.String(), nil
}

// formatFunction is a function whose second argument is a format. The call name(x, format) becomes open(x, format') close.
type formatFunction struct {
	open, close string
	translate   func(string) (string, error)
}

// formatFunctions are rewritten and not macros, since DuckDB wants a constant format, which a macro's argument is not.
var formatFunctions = map[string]formatFunction{
	"date_format":     {"athena_strftime(", ")", mysqlFormat},
	"date_parse":      {"strptime(", ")", mysqlFormat},
	"format_datetime": {"athena_strftime(", ")", jodaFormat},
	"parse_datetime":  {"athena_utc(strptime(", "))", jodaFormat},
}
