package local

// jsonPathFunctions take a JSON path as their second argument.
var jsonPathFunctions = []string{"json_extract", "json_extract_scalar", "json_size", "json_value", "json_exists"}

// sundayUnits are the units of DuckDB's date_part that number weekdays otherwise than Trino.
var sundayUnits = []string{"dow", "dayofweek", "weekday"}

// refusedFunctions by name, with what follows "is not supported". They reach out of the query, would give another answer
// than Athena's, or are functions of Athena's for which there is another way.
var refusedFunctions = map[string]string{
	// These would show or change something besides the lake.
	"current_setting":             "",
	"getenv":                      "",
	"getvariable":                 "",
	"json_serialize_plan":         "",
	"json_execute_serialized_sql": "",
	"write_log":                   "",
	"sleep_ms":                    "",
	"pg_sleep":                    "",
	"nextval":                     "",
	"currval":                     "",
	"pg_get_viewdef":              "",
	// These would build values of any length outside of DuckDB's memory limit.
	"range":           "; use sequence(first, last), or FROM range(…)",
	"generate_series": "; use sequence(first, last), or FROM generate_series(…)",
	"list_resize":     "",
	"array_resize":    "",
	"bitstring":       "",
	"printf":          "; use format",
	// These take the product of their arguments' lengths.
	"levenshtein":             "; use levenshtein_distance",
	"editdist3":               "; use levenshtein_distance",
	"damerau_levenshtein":     "; use levenshtein_distance",
	"jaro_similarity":         "",
	"jaro_winkler_similarity": "",
	// These differ from Athena's function of the same name, or have no counterpart.
	"reduce":               ": DuckDB's takes other arguments; use list_reduce(array, lambda s, x: …, initial)",
	"any_match":            "; use cardinality(filter(array, x -> …)) > 0",
	"all_match":            "; use cardinality(filter(array, x -> NOT …)) = 0",
	"none_match":           "; use cardinality(filter(array, x -> …)) = 0",
	"zip_with":             "; use transform over sequence(1, cardinality(array))",
	"json_query":           "; use json_extract",
	"json_table":           "; use CROSS JOIN UNNEST(CAST(json_extract(…) AS ARRAY(JSON)))",
	"map_filter":           "; UNNEST map_entries(map) and filter the rows",
	"transform_keys":       "; UNNEST map_entries(map)",
	"transform_values":     "; UNNEST map_entries(map)",
	"multimap_agg":         "; use map_agg over array_agg",
	"approx_most_frequent": "; GROUP BY and ORDER BY count(*)",
	"regexp_position":      "",
	"word_stem":            "",
	"xxhash64":             "; use sha256",
	"sha512":               "; use sha256",
	"crc32":                "; use sha256",
	"hmac_sha256":          "",
}

// syntaxHint is a construct of Athena's that DuckDB's parser stumbles over.
type syntaxHint struct {
	words []string // in a row, in lower case
	name  string
	hint  string
}

// unsupportedSyntax is looked for when the parser has failed, because it names the construct better than the parser.
var unsupportedSyntax = []syntaxHint{
	{[]string{"for", "timestamp", "as", "of"}, "FOR TIMESTAMP AS OF (time travel)", "; filter on received_at"},
	{[]string{"for", "version", "as", "of"}, "FOR VERSION AS OF (time travel)", "; filter on received_at"},
	{[]string{"for", "system_time", "as", "of"}, "FOR SYSTEM_TIME AS OF (time travel)", "; filter on received_at"},
	{[]string{"match_recognize"}, "MATCH_RECOGNIZE", "; use window functions"},
	{[]string{"show", "columns"}, "SHOW COLUMNS", "; use DESCRIBE events"},
	{[]string{"show", "partitions"}, "SHOW PARTITIONS", "; use SELECT DISTINCT CAST(received_at AS date) FROM events"},
	{[]string{"show", "create"}, "SHOW CREATE", "; use DESCRIBE events"},
	{[]string{"show", "functions"}, "SHOW FUNCTIONS", ""},
	{[]string{"within", "group"}, "WITHIN GROUP", "; use array_join(array_agg(x ORDER BY x), ',')"},
	{[]string{"array", "<"}, "ARRAY<type>", "; write ARRAY(type)"},
	{[]string{"json_table"}, "JSON_TABLE", "; use CROSS JOIN UNNEST(CAST(json_extract(…) AS ARRAY(JSON)))"},
	{[]string{"json_query"}, "JSON_QUERY", "; use json_extract"},
	{[]string{"json_value"}, "JSON_VALUE with clauses", "; use json_extract_scalar"},
	{[]string{"json_exists"}, "JSON_EXISTS with clauses", "; use json_extract(…) IS NOT NULL"},
	{[]string{"unload"}, "UNLOAD", ""},
	{[]string{"prepare"}, "PREPARE", "; send parameters beside the statement"},
}

// find gives the offset of the construct in the SQL, or -1.
func (s *syntaxHint) find(sql string) int {
	tokens := tokenize(sql)
next:
	for i := range tokens {
		if i+len(s.words) > len(tokens) {
			break
		}
		for j, word := range s.words {
			if !tokens[i+j].Is(word) {
				continue next
			}
		}
		return tokens[i].Start
	}
	return -1
}
