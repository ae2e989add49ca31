package local

import "penstock/consumer/query/sqllex"

// tokenize splits SQL as DuckDB does.
func tokenize(sql string) []sqllex.Token {
	return sqllex.Dialect{NestedComments: true, EscapeStrings: true, DollarStrings: true}.Tokens(sql)
}
