package local

import (
	"slices"
	"strconv"
)

// Athena calls a result column without a name _col0, _col1 and so on by its place; DuckDB repeats the expression.

// heading is an item of the outermost SELECT list.
type heading int

const (
	headingNamed heading = iota
	headingUnnamed
	headingStar // any number of columns
)

func columnHeadings(root syntaxNode) []heading {
	n, _ := root["node"].(syntaxNode)
	for n != nil && nodeText(n, "type") != "SELECT_NODE" {
		switch left := n["left"].(type) {
		case syntaxNode: // of a set operation or recursion: the first branch gives the names
			n = left
		default:
			children, _ := n["children"].([]any)
			if len(children) == 0 {
				return nil
			}
			n, _ = children[0].(syntaxNode)
		}
	}
	items, _ := n["select_list"].([]any)
	from, _ := n["from_table"].(syntaxNode)
	if nodeText(from, "type") == "EXPRESSION_LIST" && nodeText(from, "alias") == "valueslist" && len(items) == 1 {
		return valueHeadings(from)
	}
	var list []heading
	for _, item := range items {
		list = append(list, headingOf(item))
	}
	return list
}

// valueHeadings are those of a bare VALUES.
func valueHeadings(from syntaxNode) []heading {
	rows, _ := from["values"].([]any)
	if len(rows) == 0 {
		return nil
	}
	columns, _ := rows[0].([]any)
	list := make([]heading, len(columns))
	for i := range list {
		list[i] = headingUnnamed
	}
	return list
}

func headingOf(item any) heading {
	n, _ := item.(syntaxNode)
	switch {
	case hasStar(item):
		return headingStar
	case nodeText(n, "alias") != "" || nodeText(n, "class") == "COLUMN_REF":
		return headingNamed
	default:
		return headingUnnamed
	}
}

// hasStar reports whether an expression stands for any number of columns: *, t.* or COLUMNS(…).
func hasStar(v any) bool {
	switch v := v.(type) {
	case syntaxNode:
		switch nodeText(v, "class") {
		case "STAR":
			return true
		case "SUBQUERY":
			return false // one column, whatever is inside
		}
		for _, child := range v {
			if hasStar(child) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, hasStar)
	}
	return false
}

// nameColumns gives the unnamed columns their names: those before the first star are counted from the left, those behind the
// last one from the right.
func nameColumns(names []string, list []heading) {
	star := slices.Index(list, headingStar)
	if star < 0 && len(list) != len(names) {
		return // an item that DuckDB spreads over several columns
	}
	for i, h := range list {
		if i == star {
			break
		}
		if h == headingUnnamed && i < len(names) {
			names[i] = "_col" + strconv.Itoa(i)
		}
	}
	for back := 1; back <= len(list) && list[len(list)-back] != headingStar; back++ {
		if at := len(names) - back; list[len(list)-back] == headingUnnamed && at >= 0 {
			names[at] = "_col" + strconv.Itoa(at)
		}
	}
}
