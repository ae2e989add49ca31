package local

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
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
		end := slices.IndexFunc(tokens[first:], func(t sqlToken) bool { return t.is(";") })
		if end < 3 || !tokens[first].is("create") || !tokens[first+1].is("macro") {
			return nil, fmt.Errorf("macro file: no CREATE MACRO …; at byte %d", tokens[first].start)
		}
		end += first
		name := tokens[first+2]
		m := sqlMacro{name: strings.Trim(sql[name.start:name.end], `"`), sql: sql[tokens[first].start:tokens[end].end]}
		for i, t := range tokens[first+3 : end] {
			before := tokens[first+2+i]
			if t.kind == tokenWord && known[t.lower] && !before.is(".") && !slices.Contains(m.uses, t.lower) {
				m.uses = append(m.uses, t.lower)
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
		switch t.kind {
		case tokenWord:
			wanted[t.lower] = true
		case tokenQuoted:
			wanted[strings.ToLower(strings.Trim(sql[t.start:t.end], `"`))] = true
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
