package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

// buildInfo says what this program was made from.
type buildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Time    string `json:"time,omitempty"` // of the commit
	Dirty   bool   `json:"dirty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func buildVersion() buildInfo {
	b := buildInfo{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "dev"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Dirty = s.Value == "true"
		}
	}
	return b
}

// versionCmd is `penstock version`.
type versionCmd struct {
	JSON bool `name:"json" help:"As a JSON object."`
}

// Run prints what this program was made from.
func (c *versionCmd) Run(out *output) error {
	b := buildVersion()
	if c.JSON {
		return json.NewEncoder(out.stdout).Encode(b)
	}
	commit := ""
	if b.Commit != "" {
		commit = ", commit " + b.Commit
		if b.Dirty {
			commit += " with changes"
		}
	}
	_, err := fmt.Fprintf(out.stdout, "penstock %s (%s, %s/%s%s)\n", b.Version, b.Go, b.OS, b.Arch, commit)
	return err
}
