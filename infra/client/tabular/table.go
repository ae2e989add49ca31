package tabular

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// Limits of a table: what lies beyond is counted, not held.
const (
	MaxTableRows = 1000
	// maxTableBytes bounds the values that are held together, keepOfValue each of them.
	maxTableBytes = 32 << 20
	keepOfValue   = 4 << 10
	// maxCellWidth is the widest cell where no terminal limits the line.
	maxCellWidth = 1000
	minCellWidth = 8
)

// Style is how a table is shown.
type Style struct {
	// Width is the number of columns of the terminal; 0 when it is none, and lines may be of any length.
	Width int
	// Color allows escape sequences that set NULL and the frame apart.
	Color bool
}

// Table is the beginning of a result.
type Table struct {
	Header []string
	Rows   [][]Value
	// Total counts all rows of the result.
	Total int64
}

// ReadTable reads a result to its end and holds its beginning.
func ReadTable(in io.Reader) (*Table, error) {
	r := NewReader(in, keepOfValue)
	t := &Table{}
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	for _, v := range header {
		t.Header = append(t.Header, v.Text)
	}
	for held := 0; ; t.Total++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		if len(t.Rows) == MaxTableRows || held > maxTableBytes {
			held = maxTableBytes + 1 // no later row may take the place of one that was left out
			continue
		}
		for _, v := range row {
			held += len(v.Text)
		}
		t.Rows = append(t.Rows, slices.Clone(row))
	}
}

// cell is a value as it is shown.
type cell struct {
	text  string
	width int
	null  bool
}

// widths are those of a terminal that shows ambiguous characters narrow, whatever the locale says.
func widths() *runewidth.Condition {
	return &runewidth.Condition{StrictEmojiNeutral: true}
}

// Render writes the table. Cut values end with "…".
func (t *Table) Render(out io.Writer, style Style) error {
	if len(t.Header) == 0 {
		return nil
	}
	cond := widths()
	grid := make([][]cell, 0, len(t.Rows)+1)
	header := make([]cell, len(t.Header))
	natural := make([]int, len(t.Header))
	for i, name := range t.Header {
		header[i] = newCell(cond, Value{Text: name}, true)
		natural[i] = header[i].width
	}
	for _, row := range t.Rows {
		line := make([]cell, len(row))
		for i, v := range row {
			line[i] = newCell(cond, v, false)
			natural[i] = max(natural[i], line[i].width)
		}
		grid = append(grid, line)
	}
	p := printer{out: bufio.NewWriter(out), cond: cond, color: style.Color, columns: fit(natural, style.Width), right: t.numeric()}
	p.line(header)
	p.rule()
	for _, line := range grid {
		p.line(line)
	}
	return p.out.Flush()
}

func newCell(cond *runewidth.Condition, v Value, header bool) cell {
	if v.Null {
		return cell{text: "NULL", width: 4, null: true}
	}
	text := Visible(v.Text)
	if text == "NULL" && !header {
		text = `"NULL"` // the word, not the absence of a value
	}
	if v.Cut {
		text += "…"
	}
	return cell{text: text, width: cond.StringWidth(text)}
}

// numeric tells which columns hold numbers only, and are aligned to the right.
func (t *Table) numeric() []bool {
	right := make([]bool, len(t.Header))
	for i := range right {
		values := 0
		right[i] = true
		for _, row := range t.Rows {
			if !row[i].Null {
				values++
				right[i] = right[i] && isNumber(row[i].Text)
			}
		}
		right[i] = right[i] && values > 0
	}
	return right
}

func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return s != "" && s[0] >= '0' && s[0] <= '9' && strings.Trim(s, "0123456789.eE+-") == ""
}

// fit gives each column a width. When they don't all fit, the widest give way first, none below minCellWidth: a line that is
// too long even so is wrapped by the terminal.
func fit(natural []int, terminal int) []int {
	columns := make([]int, len(natural))
	limit := maxCellWidth
	if terminal > 0 {
		room := terminal - 3*len(natural) + 1 // " x │ y "
		for limit = max(terminal, minCellWidth); limit > minCellWidth && total(natural, limit) > room; {
			limit--
		}
	}
	for i, n := range natural {
		columns[i] = min(n, limit)
	}
	return columns
}

func total(natural []int, limit int) int {
	sum := 0
	for _, n := range natural {
		sum += min(n, limit)
	}
	return sum
}

type printer struct {
	out     *bufio.Writer // keeps its first error, which Flush returns
	cond    *runewidth.Condition
	color   bool
	columns []int
	right   []bool
}

const (
	dim   = "\x1b[2m"
	plain = "\x1b[0m"
)

func (p *printer) write(s string) { _, _ = p.out.WriteString(s) }

func (p *printer) faint(s string) {
	if p.color {
		s = dim + s + plain
	}
	p.write(s)
}

func (p *printer) line(cells []cell) {
	for i, c := range cells {
		if i > 0 {
			p.faint("│")
		}
		p.write(" ")
		text, width := c.text, c.width
		if width > p.columns[i] {
			text = p.cond.Truncate(text, p.columns[i], "…")
			width = p.cond.StringWidth(text)
		}
		padding := strings.Repeat(" ", max(0, p.columns[i]-width))
		if p.right[i] {
			p.write(padding)
		}
		if c.null {
			p.faint(text)
		} else {
			p.write(text)
		}
		if i == len(cells)-1 {
			break // no blanks at the end of a line
		}
		if !p.right[i] {
			p.write(padding)
		}
		p.write(" ")
	}
	p.write("\n")
}

func (p *printer) rule() {
	for i, width := range p.columns {
		if i > 0 {
			p.faint("┼")
		}
		p.faint(strings.Repeat("─", width+2))
	}
	p.write("\n")
}
