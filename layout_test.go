package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// vendors are import path prefixes that no core may name (ARCHITECTURE.md, "Direction").
var vendors = []string{
	"github.com/aws/", "github.com/gofiber/", "github.com/valyala/", "github.com/cockroachdb/", "github.com/duckdb/",
	"github.com/apache/", "github.com/prometheus/", "github.com/versity/",
}

// mayImport says which of Penstock's own packages a package may import: root → {infra/*, ingest/httpapi} →
// {ingest, consumer/*} → schemas. Adapters don't know each other.
func mayImport(from, to string) bool {
	switch layer, _, _ := strings.Cut(from, "/"); {
	case from == ".", from == "infra/deploy/chaos": // the latter is a test that is a program
		return true
	case from == "schemas":
		return false
	case to == "schemas":
		return true
	case strings.HasPrefix(from, "infra/deploy/") && strings.HasPrefix(to, "infra/deploy/"):
		return true // programs and helpers for them, no adapters
	case from == "ingest/httpapi" || layer == "infra":
		return to == "ingest" || layerOf(to) == "consumer"
	case layer == "consumer":
		return layerOf(to) == "consumer"
	case layer == "ingest":
		return to == "ingest"
	default:
		return false
	}
}

func layerOf(pkg string) string { layer, _, _ := strings.Cut(pkg, "/"); return layer }

func isCore(pkg string) bool {
	return pkg == "schemas" || layerOf(pkg) == "consumer" || (layerOf(pkg) == "ingest" && pkg != "ingest/httpapi")
}

// wrongImports lists the imports of non-test files below root that break the direction rule.
func wrongImports(root fs.FS) ([]string, error) {
	var wrong []string
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || (strings.HasPrefix(d.Name(), ".") && name != ".")) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		source, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
		if err != nil {
			return err
		}
		from := path.Dir(name)
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			own, isOwn := strings.CutPrefix(imported, "penstock/")
			isVendor := slices.ContainsFunc(vendors, func(v string) bool { return strings.HasPrefix(imported, v) })
			if (isOwn && !mayImport(from, own)) || (isCore(from) && isVendor) {
				wrong = append(wrong, fmt.Sprintf("%s imports %s", name, imported))
			}
		}
		return nil
	})
	return wrong, err
}

func TestImportDirection(t *testing.T) {
	t.Parallel()
	wrong, err := wrongImports(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	if len(wrong) > 0 {
		t.Errorf("imports against the direction rule:\n%s", strings.Join(wrong, "\n"))
	}
}

// The rule is only worth something if it can be broken: the fixture breaks it in every way that it knows.
func TestImportDirectionCanFail(t *testing.T) {
	t.Parallel()
	wrong, err := wrongImports(os.DirFS("testdata/wrong-direction"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"consumer/wrong.go imports github.com/cockroachdb/pebble/v2",
		"consumer/wrong.go imports penstock/ingest",
		"infra/aws/wrong.go imports penstock/infra/local",
		"ingest/wrong.go imports penstock/ingest/httpapi",
		"schemas/wrong.go imports penstock/consumer",
	}
	if !slices.Equal(wrong, want) {
		t.Errorf("found:\n%s\nwant:\n%s", strings.Join(wrong, "\n"), strings.Join(want, "\n"))
	}
}

// embedded are the packages that only the build for one machine may hold: the store, SQL and the S3 endpoint. Pebble's
// file system interface, which the lake stands on, is none of them.
var embedded = []string{"github.com/cockroachdb/pebble/v2", "github.com/duckdb/duckdb-go-bindings", "github.com/versity/versitygw/s3api"}

// lakeOnly are the packages that a front end must not hold either: it must start in an instant when a spike comes.
var lakeOnly = []string{"github.com/apache/iceberg-go", "github.com/apache/arrow-go/v18/arrow"}

// linked lists which of the packages a build of the program contains.
func linked(t *testing.T, tags string, packages []string) (found []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", tags, ".")
	cgo := "CGO_ENABLED=1" // for DuckDB
	if tags != "" {
		cgo = "CGO_ENABLED=0"
	}
	cmd.Env = append(os.Environ(), cgo)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	deps := strings.Fields(string(out))
	for _, p := range packages {
		if slices.Contains(deps, p) {
			found = append(found, p)
		}
	}
	return found
}

// The static builds are free of what they must not hold. That the rule knows its packages by their right names shows in the
// build that has them all.
func TestWhatTheBuildsHold(t *testing.T) {
	t.Parallel()
	all := slices.Concat(embedded, lakeOnly)
	for _, build := range []struct {
		tags   string
		banned []string
		want   []string
	}{
		{tags: "", banned: all, want: all},
		{tags: "nolocal", banned: embedded},
		{tags: "nolocal,frontend", banned: all},
	} {
		if found := linked(t, build.tags, build.banned); !slices.Equal(found, build.want) {
			t.Errorf("the build with tags %q holds %q, want %q", build.tags, found, build.want)
		}
	}
}
