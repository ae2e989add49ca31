//go:build !frontend

package aws_test

import (
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"

	"penstock/infra/aws"
)

// A proof of the lake's table changes nothing of it.
func TestProvePointer(t *testing.T) {
	t.Parallel()
	p, s := madePointer(t)
	before := maps.Clone(s.table("penstock.events"))
	if err := p.Prove(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := maps.Clone(s.table("penstock.events"))
	for _, table := range []map[string]any{before, after} {
		delete(table, "VersionId")
	}
	if !reflect.DeepEqual(before, after) {
		t.Errorf("changed from %v to %v", before, after)
	}
	if calls, _ := s.seen(); strings.Join(calls, " ") != "GetTable UpdateTable" {
		t.Errorf("it asked for %q", calls)
	}
}

// A commit that comes into a proof is not undone by it, and a proof that comes into a commit does not make it fail.
func TestProvePointerAmongCommits(t *testing.T) {
	t.Parallel()
	p, s := madePointer(t)
	during := func(do func()) {
		s.setFault(func(call string, next func() glueAnswer) glueAnswer {
			if call == "UpdateTable" {
				s.setFault(nil)
				do()
			}
			return next()
		})
	}
	swap := func(prev, next int) {
		if swapped, err := p.Swap(t.Context(), versionAt(prev), versionAt(next)); err != nil || !swapped {
			t.Errorf("commit %d: %t, %v", next, swapped, err)
		}
	}
	during(func() { swap(0, 1) })
	if err := p.Prove(t.Context()); err != nil {
		t.Error(err)
	}
	wantPointer(t, p, versionAt(1))
	during(func() {
		if err := p.Prove(t.Context()); err != nil {
			t.Error(err)
		}
	})
	swap(1, 2)
	wantPointer(t, p, versionAt(2))
}

// What is wrong with the catalog is said with what to do, by a proof and by who only uses it.
func TestPointerExplains(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		call, code string
		want       []string
	}{
		"may not read":   {"GetTable", "AccessDeniedException", []string{"allow glue:GetTable"}},
		"may not commit": {"UpdateTable", "AccessDeniedException", []string{"allow glue:UpdateTable"}},
		"expired":        {"GetTable", "ExpiredTokenException", []string{"expired", "renew"}},
		"unknown key":    {"GetTable", "UnrecognizedClientException", []string{"access key", "eu-central-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, s := madePointer(t)
			s.setFault(func(call string, next func() glueAnswer) glueAnswer {
				if call == test.call {
					return glueError(test.code)
				}
				return next()
			})
			_, swapErr := p.Swap(t.Context(), versionAt(0), versionAt(1))
			for who, err := range map[string]error{"proof": p.Prove(t.Context()), "commit": swapErr} {
				for _, want := range append(test.want, "penstock.events") {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %v does not say %q", who, err, want)
					}
				}
			}
		})
	}
	for call, action := range map[string]string{"CreateTable": "glue:CreateTable", "CreateDatabase": "glue:CreateDatabase"} {
		s := newGlueStub(t)
		p := stubPointer(t, s)
		if err := p.Prove(t.Context()); err == nil || !strings.Contains(err.Error(), "penstock.events is not in region eu-central-1") {
			t.Errorf("no table: %v", err)
		}
		if calls, _ := s.seen(); strings.Join(calls, " ") != "GetTable" {
			t.Errorf("a proof of no table asked for %q", calls)
		}
		s.setFault(func(got string, next func() glueAnswer) glueAnswer {
			if got == call {
				return glueError("AccessDeniedException")
			}
			return next()
		})
		if _, err := p.Swap(t.Context(), "", versionAt(0)); err == nil || !strings.Contains(err.Error(), "allow "+action+" ") {
			t.Errorf("without %s: %v", action, err)
		}
	}
	p, s := madePointer(t)
	s.change("penstock.events", func(table map[string]any) { table["Parameters"].(map[string]any)["table_type"] = "HIVE" })
	if err := p.Prove(t.Context()); !errors.Is(err, aws.ErrForeignTable) {
		t.Errorf("somebody else's table: %v", err)
	}
}
