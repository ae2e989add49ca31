package compose_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile: its word, and the rest of its line.
type instruction struct{ word, rest string }

// stages reads a Dockerfile: the instructions of each stage, those of the stages that it stands on first, and its last stage.
// An image that is none of its stages stands there as FROM.
func stages(t *testing.T, name string) (byName map[string][]instruction, last string) {
	t.Helper()
	byName = map[string][]instruction{}
	for line := range strings.Lines(strings.ReplaceAll(read(t, name), "\\\n", " ")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		if word == "" || strings.HasPrefix(word, "#") {
			continue
		}
		if word == "FROM" {
			from, stage, ok := strings.Cut(rest, " AS ")
			if !ok {
				t.Fatalf("%s: a stage without a name: %s", name, line)
			}
			last = stage
			if parent, ok := byName[from]; ok {
				byName[stage] = slices.Clone(parent)
				continue
			}
		}
		byName[last] = append(byName[last], instruction{word, rest})
	}
	return byName, last
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rest is that of the last instruction of a kind, which is the one that counts.
func rest(stage []instruction, word string) string {
	for _, i := range slices.Backward(stage) {
		if i.word == word {
			return i.rest
		}
	}
	return ""
}

// entrypoint of a stage, which must be in the form that needs no shell.
func entrypoint(t *testing.T, stage []instruction) (command []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(rest(stage, "ENTRYPOINT")), &command); err != nil || len(command) == 0 {
		t.Fatalf("ENTRYPOINT %s: must be a list: %v", rest(stage, "ENTRYPOINT"), err)
	}
	return command
}

var numericUser = regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`)

// Penstock's images hold the program and certificates, and run as nobody in particular. Whoever names no stage gets Penstock.
func TestImages(t *testing.T) {
	t.Parallel()
	byName, last := stages(t, dockerfile)
	if last != "penstock" {
		t.Errorf("the last stage is %s", last)
	}
	for _, name := range []string{"penstock", "setup"} {
		stage := byName[name]
		if base := rest(stage, "FROM"); !strings.HasPrefix(base, "scratch ") {
			t.Errorf("%s is from %s", name, base)
		}
		if user := rest(stage, "USER"); !numericUser.MatchString(user) {
			t.Errorf("%s runs as %q: an image without /etc/passwd knows numbers only, and 0 is root", name, user)
		}
		copied := map[string]string{} // to, from
		for _, i := range stage {
			if fields := strings.Fields(i.rest); i.word == "COPY" {
				copied[fields[2]] = fields[0] + " " + fields[1]
			}
		}
		if from := copied["/etc/ssl/certs/ca-certificates.crt"]; !strings.HasPrefix(from, "--from=source ") {
			t.Errorf("%s has no certificates, but %q", name, copied)
		}
		from := strings.Fields(copied[entrypoint(t, stage)[0]])
		if len(from) != 2 {
			t.Fatalf("%s starts %q, which is not in it: %q", name, entrypoint(t, stage), copied)
		}
		build := byName[strings.TrimPrefix(from[0], "--from=")]
		if rest(build, "ENV") != "CGO_ENABLED=0" || !strings.Contains(rest(build, "RUN"), " -o "+from[1]+" ") {
			t.Errorf("%s: %s does not build %s without cgo: RUN %s", name, from[0], from[1], rest(build, "RUN"))
		}
	}
	if user := rest(byName["dynalite"], "USER"); user != "node" {
		t.Errorf("dynalite runs as %q", user)
	}
}

// The images that others are made from are those that `.ci/run` installs on a bare machine.
func TestToolchainImages(t *testing.T) {
	t.Parallel()
	byName, _ := stages(t, dockerfile)
	for stage, tool := range map[string]string{"source": "go", "dynalite": "node"} {
		image := map[string]string{"go": "golang", "node": "node"}[tool]
		version := regexp.MustCompile(`(?m)^want_` + tool + `=([0-9.]+)`).FindStringSubmatch(read(t, ".ci/run"))
		if from := rest(byName[stage], "FROM"); len(version) != 2 || !strings.HasPrefix(from, image+":"+version[1]+"-") {
			t.Errorf("%s is from %q; .ci/run wants %q", stage, from, version)
		}
	}
}

// .dockerignore lets through every file that the images' programs are built from.
func TestContextIsWhole(t *testing.T) {
	t.Parallel()
	var through []string
	for line := range strings.Lines(read(t, ".dockerignore")) {
		if pattern, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			through = append(through, pattern)
		}
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "nolocal",
		"-f", `{{if not .Standard}}{{$p := .}}{{range .GoFiles}}{{$p.ImportPath}}/{{.}}
{{end}}{{range .EmbedFiles}}{{$p.ImportPath}}/{{.}}
{{end}}{{end}}`, ".", "./infra/deploy/stack")
	list.Dir, list.Env, list.Stderr = root, append(os.Environ(), "CGO_ENABLED=0"), t.Output()
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for line := range strings.Lines(string(out) + "penstock/go.mod\npenstock/go.sum\n") {
		file, ours := strings.CutPrefix(strings.TrimSpace(line), "penstock/")
		if !ours {
			continue
		}
		count++
		top, _, _ := strings.Cut(file, "/")
		if !slices.ContainsFunc(through, func(pattern string) bool { ok, err := path.Match(pattern, top); return ok && err == nil }) {
			t.Errorf("%s is not sent to the build", file)
		}
	}
	if count < 100 {
		t.Errorf("found only %d files", count)
	}
}
