package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"penstock/schemas"
)

// syntaxNode is a node of the syntax tree.
type syntaxNode = map[string]any

func decodeNode(raw []byte) (syntaxNode, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // query_location is 2^64-1 where there is none
	var n syntaxNode
	if err := decoder.Decode(&n); err != nil {
		return nil, fmt.Errorf("reading DuckDB's syntax tree: %w", err)
	}
	return n, nil
}

func nodeText(n syntaxNode, key string) string {
	s, _ := n[key].(string)
	return s
}

// sqlPolicy walks the tree. Everything that reads rows is allowed by name; scalar functions are refused by name.
type sqlPolicy struct {
	statement *sqlStatement
	tables    map[string]bool // names of common table expressions, in lower case
}

// eachNode calls use with every node below v, which is any part of the tree.
func eachNode(v any, use func(syntaxNode)) {
	switch v := v.(type) {
	case syntaxNode:
		use(v)
		for _, child := range v {
			eachNode(child, use)
		}
	case []any:
		for _, child := range v {
			eachNode(child, use)
		}
	}
}

// collectNames finds the names that WITH gives.
func (p *sqlPolicy) collectNames(root syntaxNode) {
	eachNode(root, func(n syntaxNode) {
		if ctes, ok := n["cte_map"].(syntaxNode); ok {
			entries, _ := ctes["map"].([]any)
			for _, entry := range entries {
				if e, ok := entry.(syntaxNode); ok {
					p.tables[strings.ToLower(nodeText(e, "key"))] = true
				}
			}
		}
		if name := nodeText(n, "cte_name"); name != "" {
			p.tables[strings.ToLower(name)] = true
		}
	})
}

// check looks at everything below root. Of several faults it reports the first in the text.
func (p *sqlPolicy) check(root syntaxNode) error {
	var first error
	position := len(p.statement.text) + 1
	eachNode(root, func(n syntaxNode) {
		var err error
		switch {
		case nodeText(n, "type") == "TABLE_FUNCTION":
			err = p.tableFunction(n)
			function, _ := n["function"].(syntaxNode)
			delete(function, "class") // so that it isn't taken for a scalar function as well
		case nodeText(n, "type") == "BASE_TABLE":
			err = p.table(n)
		case nodeText(n, "type") == "SHOW_REF":
			err = p.show(n)
		case nodeText(n, "type") == "PIVOT": // makes as many columns as its lists have combinations
			err = errors.New("PIVOT and UNPIVOT are not supported")
		case nodeText(n, "class") == "FUNCTION", nodeText(n, "class") == "WINDOW":
			err = p.function(n)
		}
		if at, ok := p.location(n); err != nil && (first == nil || ok && at < position) {
			first, position = err, at
		}
	})
	if first == nil {
		return nil
	}
	if position > len(p.statement.text) {
		return refuseSQL("%s", first)
	}
	line, column := p.statement.place(p.statement.origin(position))
	return refuseSQL("line %d, column %d: %s", line, column, first)
}

// location is the offset of a node in the translated text.
func (p *sqlPolicy) location(n syntaxNode) (int, bool) {
	number, _ := n["query_location"].(json.Number)
	at, err := strconv.Atoi(number.String())
	return at + p.statement.start, err == nil
}

// tableFunctions are those that touch no file and no setting.
var tableFunctions = []string{"unnest", "range", "generate_series", "json_each", "json_tree"}

func (p *sqlPolicy) tableFunction(n syntaxNode) error {
	function, _ := n["function"].(syntaxNode)
	name := strings.ToLower(nodeText(function, "function_name"))
	arguments, _ := function["children"].([]any)
	switch {
	case !slices.Contains(tableFunctions, name):
		return fmt.Errorf("table function %s is not allowed: the only tables are events and penstock.events", name)
	case name == "unnest" && len(arguments) > 1:
		return errors.New("UNNEST of several arrays is not supported; UNNEST one, WITH ORDINALITY, and index the others")
	}
	return nil
}

// catalogTables are the views that list tables and columns. The other views of information_schema would show where the
// data files lie.
var catalogTables = []string{"tables", "columns", "schemata"}

func (p *sqlPolicy) table(n syntaxNode) error {
	catalog, schema := strings.ToLower(nodeText(n, "catalog_name")), strings.ToLower(nodeText(n, "schema_name"))
	name := strings.ToLower(nodeText(n, "table_name"))
	full := strings.TrimLeft(catalog+"."+schema+"."+name, ".")
	switch {
	case n["at_clause"] != nil:
		return errors.New("time travel (AT, FOR TIMESTAMP AS OF, FOR VERSION AS OF) is not supported")
	case catalog != "":
	case schema == "" && (name == schemas.LakeTable || p.tables[name]):
		return nil
	case schema == schemas.LakeNamespace && name == schemas.LakeTable:
		return nil
	case schema == "information_schema" && slices.Contains(catalogTables, name):
		return nil
	case strings.Contains(name, "$"):
		return fmt.Errorf("the metadata table %s is not supported", full)
	}
	return fmt.Errorf("table %s does not exist: the only tables are events and penstock.events", full)
}

// show allows SHOW TABLES and the like; DESCRIBE and SUMMARIZE hold the table or query that they describe.
func (p *sqlPolicy) show(n syntaxNode) error {
	name := strings.Trim(nodeText(n, "table_name"), `"`)
	if n["query"] == nil && name != "" && name != "tables" && name != "databases" {
		return fmt.Errorf("SHOW %s is not supported; use SHOW TABLES or DESCRIBE events", strings.ToUpper(name))
	}
	return nil
}

func (p *sqlPolicy) function(n syntaxNode) error {
	name := strings.ToLower(nodeText(n, "function_name"))
	arguments, _ := n["children"].([]any)
	// What the parser itself makes of syntax is in main, where macros come first. Anywhere else a function is not the one
	// that a macro bounds.
	if schema := nodeText(n, "schema"); nodeText(n, "catalog") != "" || schema != "" && schema != "main" {
		return fmt.Errorf("function %s must be called by its name alone", name)
	}
	if reason, ok := refusedFunctions[name]; ok {
		return fmt.Errorf("function %s is not supported%s", name, reason)
	}
	switch {
	case len(arguments) < 2:
	case slices.Contains(jsonPathFunctions, name):
		if path, ok := stringConstant(arguments[1]); ok {
			return checkJSONPath(path)
		}
	case name == "date_part" || name == "datepart":
		if unit, ok := stringConstant(arguments[0]); ok && slices.Contains(sundayUnits, strings.ToLower(unit)) {
			return fmt.Errorf("EXTRACT(%s) counts from 0 = Sunday here and from 1 = Monday in Athena; use day_of_week(x)",
				strings.ToUpper(unit))
		}
	}
	return nil
}

// stringConstant is the value of a string literal.
func stringConstant(v any) (string, bool) {
	n, _ := v.(syntaxNode)
	if nodeText(n, "class") != "CONSTANT" {
		return "", false
	}
	value, _ := n["value"].(syntaxNode)
	s, ok := value["value"].(string)
	return s, ok
}
