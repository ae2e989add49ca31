-- Athena's (Trino's) functions for DuckDB: https://trino.io/docs/current/functions.html
--
-- A macro shadows DuckDB's own function of the same name, so bodies name DuckDB's functions with system.main where a
-- macro of the name exists. A macro stands behind those that it uses. docs/sql.md lists what differs from Athena.

-- Casts (sql_translate.go rewrites CAST to these) ---------------------------------------------------------------------

-- Trino unquotes a JSON string when it casts it to varchar; varchar(n) cuts.
CREATE MACRO athena_varchar(x) AS
  CASE WHEN typeof(x) = 'JSON' THEN system.main.json_extract_string(CAST(x AS VARCHAR), '$') ELSE CAST(x AS VARCHAR) END,
  (x, n) AS left(
  CASE WHEN typeof(x) = 'JSON' THEN system.main.json_extract_string(CAST(x AS VARCHAR), '$') ELSE CAST(x AS VARCHAR) END,
  n);
-- Trino makes a JSON string of a varchar and does not parse it.
CREATE MACRO athena_json(x) AS to_json(x);

-- JSON ----------------------------------------------------------------------------------------------------------------

-- $["key"] is $."key" to DuckDB.
CREATE MACRO athena_path(path) AS system.main.regexp_replace(path, '\[("(?:[^"\\]|\\.)*")\]', '.\1', 'g');
-- Malformed text is not JSON: the functions answer NULL. The cast costs a second parse, but none where the type says JSON.
CREATE MACRO athena_parsed(j) AS TRY_CAST(j AS JSON);
CREATE MACRO json_extract(j, path) AS
  system.main.json_extract(athena_parsed(j), athena_path(path));
-- json_value gives the JSON text of a scalar and NULL for arrays and objects.
CREATE MACRO json_extract_scalar(j, path) AS
  system.main.json_extract_string(system.main.json_value(athena_parsed(j), athena_path(path)), '$');
CREATE MACRO athena_json_type(j) AS json_type(athena_parsed(j));
CREATE MACRO json_array_length(j) AS CASE WHEN athena_json_type(j) = 'ARRAY'
  THEN CAST(system.main.json_array_length(j) AS BIGINT) END;
CREATE MACRO json_array_get(j, i) AS CASE WHEN athena_json_type(j) = 'ARRAY'
  THEN system.main.json_extract(j, '$[' || CASE WHEN i < 0 THEN '#' ELSE '' END || i || ']') END;
CREATE MACRO json_array_contains(j, x) AS CASE WHEN x IS NOT NULL THEN CASE WHEN athena_json_type(j) = 'ARRAY'
  THEN list_contains(system.main.json_extract(j, '$[*]'), to_json(x)) END END;
CREATE MACRO json_size(j, path) AS CASE json_type(athena_parsed(j), athena_path(path))
  WHEN 'ARRAY' THEN CAST(system.main.json_array_length(j, athena_path(path)) AS BIGINT)
  WHEN 'OBJECT' THEN len(json_keys(j, athena_path(path)))
  ELSE CASE WHEN json_type(athena_parsed(j), athena_path(path)) IS NOT NULL THEN 0 END END;
CREATE MACRO json_parse(s) AS system.main.json_extract(CAST(s AS VARCHAR), '$');
CREATE MACRO json_format(j) AS CAST(system.main.json_extract(j, '$') AS VARCHAR);
CREATE MACRO is_json_scalar(j) AS athena_json_type(j) NOT IN ('ARRAY', 'OBJECT');

-- Dates and times -----------------------------------------------------------------------------------------------------

-- n of a unit as an interval.
CREATE MACRO athena_interval(unit, n) AS CASE lower(unit)
  WHEN 'millisecond' THEN to_milliseconds(n) WHEN 'second' THEN to_seconds(n) WHEN 'minute' THEN to_minutes(n)
  WHEN 'hour' THEN to_hours(n) WHEN 'day' THEN to_days(CAST(n AS INTEGER)) WHEN 'week' THEN to_days(CAST(7 * n AS INTEGER))
  WHEN 'month' THEN to_months(CAST(n AS INTEGER)) WHEN 'quarter' THEN to_months(CAST(3 * n AS INTEGER))
  WHEN 'year' THEN to_months(CAST(12 * n AS INTEGER)) ELSE error('date_add: no unit ''' || unit || '''') END;
CREATE MACRO date_add(unit, n, x) AS cast_to_type(x + athena_interval(unit, n), x);
-- Trino counts whole units that have passed, DuckDB's date_diff the boundaries that were crossed.
CREATE MACRO date_diff(unit, a, b) AS date_sub(unit, a, b);
CREATE MACRO date_trunc(unit, x) AS cast_to_type(system.main.date_trunc(unit, x), x);
CREATE MACRO from_unixtime(seconds) AS to_timestamp(CAST(seconds AS DOUBLE));
CREATE MACRO to_unixtime(x) AS epoch(CAST(x AS TIMESTAMPTZ));
-- Seconds may be missing.
CREATE MACRO from_iso8601_timestamp(s) AS CAST(system.main.regexp_replace(
  system.main.regexp_replace(s, 'T(\d\d)(Z|[+-].*)?$', 'T\1:00\2'), 'T(\d\d:\d\d)(Z|[+-].*)?$', 'T\1:00\2') AS TIMESTAMPTZ);
CREATE MACRO from_iso8601_date(s) AS CAST(s AS DATE);
CREATE MACRO to_iso8601(x) AS strftime(CAST(x AS TIMESTAMPTZ), CASE typeof(x) WHEN 'DATE' THEN '%Y-%m-%d'
  WHEN 'TIMESTAMP' THEN '%Y-%m-%dT%H:%M:%S.%f' ELSE '%Y-%m-%dT%H:%M:%S.%fZ' END);
CREATE MACRO at_timezone(x, zone) AS CAST(x AS TIMESTAMPTZ) AT TIME ZONE zone;
CREATE MACRO with_timezone(x, zone) AS CAST(x AS TIMESTAMP) AT TIME ZONE zone;
CREATE MACRO current_timezone() AS 'UTC';
CREATE MACRO day_of_week(x) AS isodow(x);
CREATE MACRO dow(x) AS isodow(x);
CREATE MACRO day_of_month(x) AS day(x);
CREATE MACRO day_of_year(x) AS dayofyear(x);
CREATE MACRO doy(x) AS dayofyear(x);
CREATE MACRO week_of_year(x) AS week(x);
CREATE MACRO year_of_week(x) AS isoyear(x);
CREATE MACRO yow(x) AS isoyear(x);
CREATE MACRO last_day_of_month(x) AS last_day(x);
CREATE MACRO millisecond(x) AS system.main.millisecond(x) % 1000;
-- What date_format, format_datetime and parse_datetime become (sql_formats.go).
CREATE MACRO athena_strftime(x, format) AS strftime(CAST(x AS TIMESTAMPTZ), format);
CREATE MACRO athena_utc(x) AS CAST(x AS TIMESTAMPTZ);

-- Strings -------------------------------------------------------------------------------------------------------------

-- NULL where DuckDB has an empty string.
CREATE MACRO split_part(s, separator, i) AS CASE WHEN i < 1 THEN error('split_part: index must be greater than zero')
  ELSE string_split(s, separator)[i] END;
CREATE MACRO split_to_map(s, entries, pairs) AS map_from_entries(list_transform(string_split(s, entries),
  lambda e: {'key': string_split(e, pairs)[1], 'value': string_split(e, pairs)[2]}));
CREATE MACRO replace(s, search) AS system.main.replace(s, search, ''), (s, search, new) AS system.main.replace(s, search, new);
-- NULL if any argument is, where DuckDB skips it.
CREATE MACRO concat(a, b) AS a || b, (a, b, c) AS a || b || c, (a, b, c, d) AS a || b || c || d,
  (a, b, c, d, e) AS a || b || c || d || e, (a, b, c, d, e, f) AS a || b || c || d || e || f,
  (a, b, c, d, e, f, g) AS a || b || c || d || e || f || g,
  (a, b, c, d, e, f, g, h) AS a || b || c || d || e || f || g || h;
CREATE MACRO codepoint(s) AS ord(s);
-- Trino's own bound: a call takes the product of the lengths.
CREATE MACRO levenshtein_distance(a, b) AS CASE WHEN length(a) * length(b) > 1000000
  THEN error('levenshtein_distance: the strings are too long') ELSE levenshtein(a, b) END;
CREATE MACRO hamming_distance(a, b) AS hamming(a, b);
-- DuckDB's format has {} for %s.
CREATE MACRO format(f, a) AS printf(f, a), (f, a, b) AS printf(f, a, b), (f, a, b, c) AS printf(f, a, b, c),
  (f, a, b, c, d) AS printf(f, a, b, c, d);
CREATE MACRO regexp_like(s, pattern) AS regexp_matches(s, pattern);
-- NULL where nothing matches, where DuckDB has an empty string.
CREATE MACRO regexp_extract(s, pattern) AS CASE WHEN regexp_matches(s, pattern)
  THEN system.main.regexp_extract(s, pattern) END,
  (s, pattern, g) AS CASE WHEN regexp_matches(s, pattern) THEN system.main.regexp_extract(s, pattern, g) END;
-- All matches where DuckDB replaces the first; groups are $1 where DuckDB has \1.
CREATE MACRO regexp_replace(s, pattern) AS system.main.regexp_replace(s, pattern, '', 'g'),
  (s, pattern, new) AS system.main.regexp_replace(s, pattern,
    system.main.regexp_replace(system.main.replace(new, '\', '\\'), '\$(\d)', '\\\1', 'g'), 'g');
CREATE MACRO regexp_count(s, pattern) AS len(regexp_extract_all(s, pattern));
CREATE MACRO regexp_split(s, pattern) AS regexp_split_to_array(s, pattern);

-- URLs ----------------------------------------------------------------------------------------------------------------

CREATE MACRO url_decode(s) AS system.main.url_decode(system.main.replace(s, '+', ' '));
CREATE MACRO url_encode(s) AS system.main.replace(system.main.replace(system.main.replace(
  system.main.url_encode(s), '%20', '+'), '%2A', '*'), '~', '%7E');
-- The parts of RFC 3986, appendix B. A part that is missing is empty, except host and port: these are NULL.
CREATE MACRO url_extract_protocol(url) AS system.main.regexp_extract(url, '^([^:/?#]+):', 1);
CREATE MACRO url_extract_host(url) AS
  nullif(system.main.regexp_extract(url, '^[^:/?#]+://(?:[^/?#@]*@)?(\[[^\]]*\]|[^/?#:]*)', 1), '');
CREATE MACRO url_extract_port(url) AS CAST(nullif(
  system.main.regexp_extract(url, '^[^:/?#]+://(?:[^/?#@]*@)?(?:\[[^\]]*\]|[^/?#:]*):([0-9]+)', 1), '') AS BIGINT);
CREATE MACRO url_extract_path(url) AS
  system.main.url_decode(system.main.regexp_extract(url, '^(?:[^:/?#]+:)?(?://[^/?#]*)?([^?#]*)', 1));
CREATE MACRO url_extract_query(url) AS
  system.main.url_decode(system.main.regexp_extract(url, '^[^?#]*\?([^#]*)', 1));
CREATE MACRO url_extract_fragment(url) AS system.main.url_decode(system.main.regexp_extract(url, '#(.*)$', 1));
-- The first of that name; empty when it has no value.
CREATE MACRO url_extract_parameter(url, name) AS url_decode(list_transform(list_filter(
  string_split(system.main.regexp_extract(url, '^[^?#]*\?([^#]*)', 1), '&'), lambda p: string_split(p, '=')[1] = name),
  lambda p: p[len(string_split(p, '=')[1]) + 2:])[1]);

-- Binary --------------------------------------------------------------------------------------------------------------

CREATE MACRO to_utf8(s) AS encode(s);
CREATE MACRO from_utf8(b) AS decode(b);
-- Varbinary where DuckDB has hexadecimal text.
CREATE MACRO md5(x) AS unhex(system.main.md5(x));
CREATE MACRO sha1(x) AS unhex(system.main.sha1(x));
CREATE MACRO sha256(x) AS unhex(system.main.sha256(x));

-- Arrays and maps -----------------------------------------------------------------------------------------------------

CREATE MACRO element_at(c, k) AS c[k];
CREATE MACRO cardinality(x MAP(VARCHAR, VARCHAR)) AS CAST(system.main.cardinality(x) AS BIGINT), (x) AS len(x);
CREATE MACRO array_join(a, separator) AS list_aggregate(list_filter(CAST(a AS VARCHAR[]), lambda x: x IS NOT NULL), 'string_agg', separator),
  (a, separator, missing) AS list_aggregate(list_transform(CAST(a AS VARCHAR[]), lambda x: coalesce(x, missing)), 'string_agg', separator);
CREATE MACRO array_position(a, x) AS CASE WHEN a IS NOT NULL AND x IS NOT NULL THEN coalesce(list_position(a, x), 0) END;
CREATE MACRO array_remove(a, x) AS list_filter(a, lambda y: y IS NULL OR y <> x);
CREATE MACRO array_union(a, b) AS list_distinct(list_concat(a, b));
CREATE MACRO array_except(a, b) AS list_filter(list_distinct(a), lambda x: NOT list_contains(b, x));
CREATE MACRO arrays_overlap(a, b) AS list_has_any(a, b);
CREATE MACRO slice(a, start, length) AS CASE
  WHEN start > 0 THEN list_slice(a, start, start + length - 1)
  WHEN start < 0 THEN list_slice(a, len(a) + start + 1, len(a) + start + length)
  ELSE error('slice: indices start at 1') END;
-- Trino's own limit; DuckDB would build any number of elements, outside of its memory limit.
CREATE MACRO sequence(a, b) AS CASE WHEN abs(b - a) >= 10000
  THEN error('sequence: more than 10000 entries') ELSE generate_series(a, b, CASE WHEN b < a THEN -1 ELSE 1 END) END,
  (a, b, step) AS CASE WHEN (b - a) // step >= 10000
  THEN error('sequence: more than 10000 entries') ELSE generate_series(a, b, step) END;
CREATE MACRO repeat(x, n) AS CASE WHEN n > 10000
  THEN error('repeat: more than 10000 entries') ELSE list_transform(range(n), lambda i: x) END;
CREATE MACRO map_agg(k, v) AS map(list(k), list(v));

-- Numbers and comparison ----------------------------------------------------------------------------------------------

CREATE MACRO truncate(x) AS trunc(x);
CREATE MACRO rand() AS system.main.random();
CREATE MACRO random() AS system.main.random(), (n) AS CAST(floor(system.main.random() * n) AS BIGINT),
  (m, n) AS CAST(floor(system.main.random() * (n - m)) AS BIGINT) + m;
CREATE MACRO is_nan(x) AS isnan(x);
CREATE MACRO is_finite(x) AS isfinite(x);
CREATE MACRO is_infinite(x) AS isinf(x);
CREATE MACRO nan() AS CAST('NaN' AS DOUBLE);
CREATE MACRO infinity() AS CAST('Infinity' AS DOUBLE);
CREATE MACRO e() AS exp(1.0);
CREATE MACRO bitwise_and(a, b) AS a & b;
CREATE MACRO bitwise_or(a, b) AS a | b;
CREATE MACRO bitwise_xor(a, b) AS xor(a, b);
CREATE MACRO bitwise_not(a) AS ~a;
-- NULL if any argument is, where DuckDB skips it.
CREATE MACRO greatest(a, b) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL THEN system.main.greatest(a, b) END,
  (a, b, c) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL AND c IS NOT NULL THEN system.main.greatest(a, b, c) END,
  (a, b, c, d) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL AND c IS NOT NULL AND d IS NOT NULL
    THEN system.main.greatest(a, b, c, d) END;
CREATE MACRO least(a, b) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL THEN system.main.least(a, b) END,
  (a, b, c) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL AND c IS NOT NULL THEN system.main.least(a, b, c) END,
  (a, b, c, d) AS CASE WHEN a IS NOT NULL AND b IS NOT NULL AND c IS NOT NULL AND d IS NOT NULL
    THEN system.main.least(a, b, c, d) END;
