package sqllex

import (
	"slices"
	"testing"
)

func texts(d Dialect, sql string) (list []string) {
	for _, t := range d.Tokens(sql) {
		list = append(list, sql[t.Start:t.End])
	}
	return list
}

// What one engine takes for a comment or a string another runs.
func TestDialects(t *testing.T) {
	t.Parallel()
	all := Dialect{NestedComments: true, EscapeStrings: true, DollarStrings: true}
	for sql, want := range map[string]struct{ plain, all []string }{
		"/* /* */ a */ b":    {[]string{"a", "*", "/", "b"}, []string{"b"}},
		"/*/ a /*/ b":        {[]string{"b"}, nil},
		`E'\' a' b`:          {[]string{"E", `'\'`, "a", `' b`}, []string{`E'\' a'`, "b"}},
		"$$a;b$$ c":          {[]string{"$", "$", "a", ";", "b$$", "c"}, []string{"$$a;b$$", "c"}},
		"$t$a$t$":            {[]string{"$", "t$a$t$"}, []string{"$t$a$t$"}},
		"a--b\rc\n--d":       {[]string{"a", "c"}, []string{"a", "c"}},
		`"a""b" 'c''d' x'0'`: {[]string{`"a""b"`, `'c''d'`, `x'0'`}, []string{`"a""b"`, `'c''d'`, `x'0'`}},
		"1.5e3 .5 a1 é":      {[]string{"1.5e3", ".5", "a1", "é"}, []string{"1.5e3", ".5", "a1", "é"}},
		"/* no end":          {nil, nil},
		"'no end":            {[]string{"'no end"}, []string{"'no end"}},
	} {
		if got := texts(Dialect{}, sql); !slices.Equal(got, want.plain) {
			t.Errorf("%s: %q, want %q", sql, got, want.plain)
		}
		if got := texts(all, sql); !slices.Equal(got, want.all) {
			t.Errorf("%s with all that a dialect may have: %q, want %q", sql, got, want.all)
		}
	}
}

func TestParentheses(t *testing.T) {
	t.Parallel()
	tokens := Dialect{}.Tokens("f(a, (b, c), d[1, 2], ')') , g(")
	if shut := Closing(tokens, 1); tokens[shut].Start != len("f(a, (b, c), d[1, 2], ')'") || Closing(tokens, len(tokens)-1) != -1 {
		t.Errorf("closed at token %d", shut)
	}
	if commas := TopLevel(tokens, 1, Closing(tokens, 1), ","); len(commas) != 3 {
		t.Errorf("top-level commas at %v", commas)
	}
}
