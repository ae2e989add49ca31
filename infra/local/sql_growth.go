package local

import (
	"maps"
	"slices"
	"strings"

	"penstock/consumer/query/sqllex"
	"penstock/schemas"
)

// DuckDB binds a macro's argument as often as the macro's body names it, and what an alias or a star stands for wherever
// it is used. Nested, that grows exponentially with the text. So its size is reckoned before DuckDB is let loose on it.

// maxGrowth is a size that is bound within a second. What nests nothing has fewer nodes than bytes and stays below.
const maxGrowth = schemas.MaxSQL

const (
	// Sizes of what takes longer to bind than a plain node, as measured.
	columnSize = 15
	aliasSize  = 20
	// widestTable is the number of columns of information_schema.columns; events has fewer.
	widestTable = 44
)

// macroBody is a macro as duckdb_functions() lists it. A macro has one for each number of arguments.
type macroBody struct {
	Name       string   `json:"name"`
	Parameters []string `json:"parameters"`
	Definition string   `json:"definition"`
}

// macroGrowth is what a macro makes of a call: size nodes of its own, and each argument at most copies times.
type macroGrowth struct{ size, copies int }

// measureMacros measures all macros that there are, DuckDB's own as well.
func measureMacros(bodies []macroBody) map[string]macroGrowth {
	byName := map[string][]macroBody{}
	for _, b := range bodies {
		byName[b.Name] = append(byName[b.Name], b)
	}
	measured := map[string]macroGrowth{}
	var measure func(name string) macroGrowth
	measure = func(name string) macroGrowth {
		if _, ok := measured[name]; !ok {
			measured[name] = macroGrowth{size: 1, copies: 1} // meanwhile: some call DuckDB's function of the same name
			var all macroGrowth
			for _, b := range byName[name] {
				m := b.measure(func(name string) (macroGrowth, bool) { return measure(name), byName[name] != nil })
				all = macroGrowth{size: max(all.size, m.size), copies: max(all.copies, m.copies)}
			}
			measured[name] = all
		}
		return measured[name]
	}
	for name := range byName {
		measure(name)
	}
	return measured
}

// measure takes every macro that the body uses for one that every argument goes through.
func (b *macroBody) measure(macro func(name string) (macroGrowth, bool)) macroGrowth {
	tokens := tokenize(b.Definition)
	m := macroGrowth{size: len(tokens)/2 + 1, copies: 1}
	uses := map[string]int{}
	for i, t := range tokens {
		if t.Kind != sqllex.Word && t.Kind != sqllex.Quoted || i > 0 && tokens[i-1].Is(".") {
			continue
		}
		name := strings.ToLower(strings.Trim(b.Definition[t.Start:t.End], `"`))
		used, isMacro := macro(name)
		switch {
		case slices.Contains(b.Parameters, name):
			uses[name]++
		case isMacro && uses[name] == 0:
			uses[name] = 1
			m.size, m.copies = capped(m.size+used.size), capped(m.copies*used.copies)
		}
	}
	most := 0
	for _, parameter := range b.Parameters {
		most = max(most, uses[parameter])
	}
	m.copies = capped(m.copies * max(most, 1))
	return m
}

func capped(size int) int { return min(size, maxGrowth+1) }

// sqlGrowth reckons the size of a statement when it is bound.
type sqlGrowth struct {
	macros  map[string]macroGrowth
	aliases map[string]int   // sizes of what names in the SELECT list around stand for
	tables  map[string][]any // queries of the common table expressions
	columns map[string]int   // of those, where known
}

func checkGrowth(root syntaxNode, macros map[string]macroGrowth) error {
	g := sqlGrowth{macros: macros, tables: map[string][]any{}, columns: map[string]int{}}
	eachNode(root, func(n syntaxNode) {
		key, value := strings.ToLower(nodeText(n, "key")), n["value"]
		if definition, ok := value.(syntaxNode); ok && definition["query"] != nil {
			g.tables[key] = append(g.tables[key], definition["query"])
		}
	})
	if g.size(root) > maxGrowth {
		return refuseSQL("the statement grows too large when its functions, aliases and stars are written out: nest fewer of them")
	}
	return nil
}

// size is that of any part of the tree.
func (g *sqlGrowth) size(v any) int {
	size := 0
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			size = capped(size + g.size(child))
		}
	case syntaxNode:
		if nodeText(v, "type") == "SELECT_NODE" {
			return g.selectSize(v)
		}
		for _, child := range v {
			size = capped(size + g.size(child))
		}
		return capped(g.nodeSize(v, size))
	}
	return size
}

// nodeSize is the size of a node whose children have the given one.
func (g *sqlGrowth) nodeSize(n syntaxNode, children int) int {
	switch nodeText(n, "class") {
	case "":
		return children
	case "FUNCTION", "WINDOW":
		if m, ok := g.macros[strings.ToLower(nodeText(n, "function_name"))]; ok {
			return m.size + m.copies*children
		}
	case "BETWEEN": // binds what it compares twice
		return 2 * (1 + children)
	case "STAR":
		return columnSize + children
	case "COLUMN_REF":
		if names, _ := n["column_names"].([]any); len(names) == 1 {
			name, _ := names[0].(string)
			if size, ok := g.aliases[strings.ToLower(name)]; ok {
				return aliasSize + size
			}
		}
	}
	return 1 + children
}

// selectSize knows in which order names become known: an item of the SELECT list to those behind it, and all to the clauses
// but FROM.
func (g *sqlGrowth) selectSize(n syntaxNode) int {
	size := capped(g.size(n["cte_map"]) + g.size(n["from_table"]))
	outer := g.aliases
	g.aliases = map[string]int{}
	maps.Copy(g.aliases, outer)
	items, _ := n["select_list"].([]any)
	for _, item := range items {
		itemSize := g.size(item)
		if hasStar(item) {
			itemSize = capped(itemSize * g.width(n["from_table"]))
		}
		size = capped(size + itemSize)
		node, _ := item.(syntaxNode)
		if alias := strings.ToLower(nodeText(node, "alias")); alias != "" {
			g.aliases[alias] = max(g.aliases[alias], itemSize)
		}
	}
	for key, clause := range n {
		if key != "cte_map" && key != "from_table" && key != "select_list" {
			size = capped(size + g.size(clause))
		}
	}
	g.aliases = outer
	return size
}

// width is the number of columns of what stands in FROM, or more.
func (g *sqlGrowth) width(from any) int {
	n, _ := from.(syntaxNode)
	switch nodeText(n, "type") {
	case "JOIN":
		return capped(g.width(n["left"]) + g.width(n["right"]))
	case "SUBQUERY":
		return g.queryWidth(n["subquery"])
	case "EXPRESSION_LIST":
		return len(valueHeadings(n))
	case "BASE_TABLE":
		if name := strings.ToLower(nodeText(n, "table_name")); g.tables[name] != nil {
			return g.tableWidth(name)
		}
	}
	return widestTable
}

func (g *sqlGrowth) tableWidth(name string) int {
	if _, ok := g.columns[name]; !ok {
		g.columns[name] = widestTable // meanwhile: a recursive one names itself, and it may be called events
		width := 0
		for _, query := range g.tables[name] {
			width = max(width, g.queryWidth(query))
		}
		g.columns[name] = width
	}
	return g.columns[name]
}

func (g *sqlGrowth) queryWidth(query any) int {
	n, _ := query.(syntaxNode)
	if node, ok := n["node"].(syntaxNode); ok {
		n = node
	}
	if nodeText(n, "type") != "SELECT_NODE" {
		return capped(g.queryWidth(n["left"]) + g.queryWidth(n["right"])) // UNION BY NAME has the columns of both
	}
	width := 0
	items, _ := n["select_list"].([]any)
	for _, item := range items {
		if hasStar(item) {
			width = capped(width + g.width(n["from_table"]))
		} else {
			width++
		}
	}
	return width
}
