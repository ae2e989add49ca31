package local

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"penstock/consumer/query/sqllex"
)

//go:embed sql_macros.sql
var macrosSQL string

// sqlMacro is a CREATE MACRO statement.
type sqlMacro struct {
	name, sql string
	uses      []string // other macros that its body names
}

// macroLibrary holds the macros in the order of the file, in which a macro stands behind those that it uses.
type macroLibrary []sqlMacro

// parseMacros splits the file of macros.
func parseMacros(sql string) (macroLibrary, error) {
	var library macroLibrary
	known := map[string]bool{}
	tokens := tokenize(sql)
	for first := 0; first < len(tokens); {
		end := slices.IndexFunc(tokens[first:], func(t sqllex.Token) bool { return t.Is(";") })
		if end < 3 || !tokens[first].Is("create") || !tokens[first+1].Is("macro") {
			return nil, fmt.Errorf("macro file: no CREATE MACRO …; at byte %d", tokens[first].Start)
		}
		end += first
		name := tokens[first+2]
		m := sqlMacro{name: strings.Trim(sql[name.Start:name.End], `"`), sql: sql[tokens[first].Start:tokens[end].End]}
		for i, t := range tokens[first+3 : end] {
			before := tokens[first+2+i]
			if t.Kind == sqllex.Word && known[t.Lower] && !before.Is(".") && !slices.Contains(m.uses, t.Lower) {
				m.uses = append(m.uses, t.Lower)
			}
		}
		known[m.name] = true
		library = append(library, m)
		first = end + 1
	}
	return library, nil
}

// script creates the macros that the SQL names, and those that these use: creating all of them takes longer than most
// queries. An empty sql stands for all.
func (l macroLibrary) script(sql string) string {
	wanted := map[string]bool{}
	for _, t := range tokenize(sql) {
		switch t.Kind {
		case sqllex.Word:
			wanted[t.Lower] = true
		case sqllex.Quoted:
			wanted[strings.ToLower(strings.Trim(sql[t.Start:t.End], `"`))] = true
		}
	}
	for _, m := range slices.Backward(l) {
		if wanted[m.name] || sql == "" {
			for _, name := range m.uses {
				wanted[name] = true
			}
		}
	}
	var script strings.Builder
	for _, m := range l {
		if wanted[m.name] || sql == "" {
			script.WriteString(m.sql)
			script.WriteByte('\n')
		}
	}
	return script.String()
}
