// @ts-check
// What the editor knows: the table's columns, the dialect's words, and examples to start from.

export const tables = ['events', 'penstock.events']

/** Name, type, and what it is. */
export const columns = [
  ['id', 'varchar', 'made by Penstock; sorts by the second of receipt'],
  ['received_at', 'timestamp with time zone', 'when Penstock took the event; the table is partitioned by its day'],
  ['event_time', 'timestamp with time zone', 'the client’s time, or the receipt'],
  ['landed_at', 'timestamp with time zone', 'when the row was written'],
  ['type', 'varchar', 'CloudEvents type'],
  ['source', 'varchar', 'CloudEvents source'],
  ['subject', 'varchar', 'CloudEvents subject'],
  ['partition_key', 'varchar', 'the client’s partition key'],
  ['origin_id', 'varchar', 'the client’s own id'],
  ['content_type', 'varchar', 'media type of the data'],
  ['data_schema', 'varchar', 'schema of the data'],
  ['tenant', 'varchar', 'tenant of the key it came with'],
  ['size', 'bigint', 'bytes of the body'],
  ['sha256', 'varchar', 'of the body, in hex'],
  ['data', 'varchar', 'the body as posted: JSON text'],
  ['data_ref', 'varchar', 'where a document lies that is too large for the table'],
  ['extensions', 'map(varchar, varchar)', 'other CloudEvents attributes'],
  ['shard', 'varchar', 'shard of the stream'],
  ['sequence', 'varchar', 'position in the shard'],
]

export const keywords = (
  'SELECT FROM WHERE GROUP BY ORDER HAVING LIMIT OFFSET JOIN LEFT RIGHT FULL INNER CROSS ON USING AS AND OR NOT IN IS NULL LIKE BETWEEN CASE ' +
  'WHEN THEN ELSE END WITH UNION ALL DISTINCT INTERSECT EXCEPT ASC DESC NULLS FIRST LAST CAST TRY_CAST INTERVAL DATE TIMESTAMP OVER PARTITION ' +
  'ROWS RANGE PRECEDING FOLLOWING UNBOUNDED CURRENT ROW FILTER UNNEST ORDINALITY VALUES EXPLAIN ANALYZE DESCRIBE SHOW TABLES EXISTS TRUE FALSE ' +
  'ARRAY MAP ROLLUP CUBE GROUPING SETS AT TIME ZONE EXTRACT ESCAPE'
).split(' ')

export const functions = (
  'json_extract json_extract_scalar json_array_length json_array_get json_array_contains json_size json_parse json_format is_json_scalar ' +
  'date_diff date_add date_trunc date_format date_parse format_datetime parse_datetime from_iso8601_timestamp from_iso8601_date to_iso8601 ' +
  'from_unixtime to_unixtime day_of_week day_of_year week_of_year last_day_of_month split_part split_to_map replace concat format lpad rpad ' +
  'levenshtein_distance regexp_like regexp_extract regexp_replace regexp_count regexp_split url_extract_host url_extract_path url_extract_query ' +
  'url_extract_parameter url_encode url_decode to_utf8 from_utf8 md5 sha1 element_at cardinality transform array_join array_position ' +
  'array_union arrays_overlap array_max array_min slice sequence repeat map_agg approx_distinct approx_percentile arbitrary geometric_mean ' +
  'truncate random greatest least count sum avg min max count_if max_by min_by bool_and bool_or array_agg histogram stddev variance row_number ' +
  'rank dense_rank lag lead first_value last_value coalesce nullif if try length substr upper lower trim strpos split reverse starts_with abs ' +
  'round floor ceil mod power sqrt ln year month day hour minute second now contains filter flatten array_distinct array_sort map_keys map_values ' +
  'map_entries to_hex from_hex to_base64 from_base64'
).split(' ')

/** @type {{name: string, sql: string}[]} */
export const examples = [
  {
    name: 'The newest events',
    sql: 'SELECT received_at, type, id, size, data\nFROM events\nORDER BY received_at DESC\nLIMIT 1000',
  },
  {
    name: 'Events by type',
    sql: 'SELECT type, count(*) AS events, sum(size) AS bytes, max(size) AS largest\nFROM events\nGROUP BY type\nORDER BY events DESC',
  },
  {
    name: 'Events by minute',
    sql: "SELECT date_trunc('minute', received_at) AS minute, count(*) AS events\nFROM events\nWHERE received_at > now() - INTERVAL '1' DAY\nGROUP BY 1\nORDER BY 1",
  },
  {
    name: 'A field of the JSON',
    sql: "SELECT json_extract_scalar(data, '$.type') AS kind, count(*) AS n\nFROM events\nWHERE json_extract_scalar(data, '$.type') IS NOT NULL\nGROUP BY 1\nORDER BY n DESC, kind\nLIMIT 20",
  },
  {
    name: 'Elements of an array in the JSON',
    sql: "SELECT e.id, json_extract_scalar(item, '$.sku') AS sku,\n       CAST(json_extract_scalar(item, '$.price') AS double) AS price\nFROM events AS e\nCROSS JOIN UNNEST(CAST(json_extract(data, '$.items') AS ARRAY(JSON))) AS t(item)\nWHERE e.type = 'order'\nORDER BY price DESC",
  },
  {
    name: 'How late events arrive, by source',
    sql: "SELECT source, count(*) AS events,\n       approx_percentile(date_diff('millisecond', event_time, received_at), 0.99) AS p99_ms\nFROM events\nGROUP BY source",
  },
  {
    name: 'How quickly events reach the lake',
    sql: "SELECT date_trunc('minute', received_at) AS minute,\n       approx_percentile(date_diff('millisecond', received_at, landed_at), 0.5) AS p50_ms,\n       max(date_diff('millisecond', received_at, landed_at)) AS max_ms\nFROM events\nGROUP BY 1\nORDER BY 1",
  },
  { name: 'What the table looks like', sql: 'DESCRIBE events' },
]
