package httpapi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock/schemas"
)

// startWithKeys serves with two keys, and returns them.
func startWithKeys(t *testing.T, change ...func(*Config, *Deps)) (f *front, one, two string) {
	t.Helper()
	one, two = GenerateKey(), GenerateKey()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte("# keys\n\none "+HashKey(one)+"\n two\t"+strings.ToUpper(HashKey(two))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, append([]func(*Config, *Deps){func(c *Config, _ *Deps) { c.Keys = keys }}, change...)...), one, two
}

func TestKeys(t *testing.T) {
	t.Parallel()
	f, one, two := startWithKeys(t)
	for _, key := range []string{one, two} {
		f.post(`{}`, "Authorization: Bearer "+key).id(t)
		f.post(`{}`, "Authorization: bearer  "+key).id(t)
	}
	for name, headers := range map[string][]string{
		"none":     nil,
		"wrong":    {"Authorization: Bearer " + one + "x"},
		"hash":     {"Authorization: Bearer " + HashKey(one)},
		"empty":    {"Authorization: Bearer "},
		"scheme":   {"Authorization: Basic " + one},
		"bare":     {"Authorization: " + one},
		"repeated": {"Authorization: Bearer " + one, "Authorization: Bearer " + one},
	} {
		t.Run(name, func(t *testing.T) {
			a := f.post(`{}`, headers...)
			a.problem(t, 401, "unauthorized")
			if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("WWW-Authenticate: %q", a.header.Get("WWW-Authenticate"))
			}
			if strings.Contains(string(a.body), one) {
				t.Error("the answer holds the key")
			}
		})
	}
	for path, status := range map[string]int{
		"/": 200, "/healthz": 200, "/readyz": 200, "/openapi.yaml": 200, "/console/main.js": 200,
		"/metrics": 401, "/v1/lake": 401, "/v1/stats": 401, "/nothing": 401, "/console/": 401, "/console/none.js": 401, "/console/../v1/lake": 401,
	} {
		f.do("GET", path, nil).must(t, status)
	}
	// Without loopback's protection other names are fine: there is a key.
	f.do("GET", "/v1/lake", nil, "Authorization: Bearer "+one, "Host: penstock.example.com", "Origin: https://elsewhere").must(t, 200)
}

func TestLoadKeysRefuses(t *testing.T) {
	t.Parallel()
	hash := HashKey("x")
	for name, c := range map[string]struct{ file, want string }{
		"empty":    {"# nothing\n", "no key"},
		"no hash":  {"name\n", "line 1"},
		"the key":  {"name psk_secret\n", "SHA-256"},
		"short":    {"name " + hash[:62] + "\n", "line 1"},
		"long":     {"name " + hash + "00\n", "line 1"},
		"not hex":  {"name " + strings.Repeat("g", 64) + "\n", "line 1"},
		"twice":    {"name " + hash + "\nname " + hash + "\n", "line 2"},
		"too many": {"", "line"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "too many" {
				c.file = strings.Repeat("n "+hash+" extra\n", 3)
			}
			_, err := parseKeys([]byte(c.file))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want an error with %q", err, c.want)
			}
			if strings.Contains(err.Error(), "psk_secret") {
				t.Error("the error quotes the key")
			}
		})
	}
	if _, err := LoadKeys(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("an absent file loads")
	}
}

func TestCheckListen(t *testing.T) {
	t.Parallel()
	for address, loopback := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:80": true, "localhost:8080": true, "127.9.9.9:1": true,
		":8080": false, "0.0.0.0:80": false, "[::]:80": false, "10.0.0.1:80": false, "example.com:80": false, "localhost.example.com:80": false,
	} {
		if err := CheckListen(address, false); (err == nil) != loopback {
			t.Errorf("%s without keys: %v", address, err)
		}
		if err := CheckListen(address, true); err != nil {
			t.Errorf("%s with keys: %v", address, err)
		}
	}
	if CheckListen("127.0.0.1", true) == nil {
		t.Error("an address without a port passes")
	}
}

// A page of another site can make the user's browser send requests to loopback, or read answers after rebinding its own
// name to 127.0.0.1.
func TestBrowsersOfOtherSites(t *testing.T) {
	t.Parallel()
	f := start(t)
	for _, headers := range [][]string{
		{"Origin: https://evil.example"},
		{"Origin: null"},
		{"Origin: http://localhost.evil.example"},
		{"Sec-Fetch-Site: cross-site"},
		{"Sec-Fetch-Site: same-site", "Origin: http://localhost:3000"},
		{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, // a form that posts
		{"Host: evil.example"},
		{"Host: evil.example:8080"},
	} {
		f.post(`{}`, headers...).problem(t, 403, "cross-site")
	}
	for _, headers := range [][]string{
		{"Origin: " + f.url, "Sec-Fetch-Site: same-origin"},
		{"Host: localhost"},
		{"Host: [::1]:1"},
		{"Sec-Fetch-Site: none"},
	} {
		f.post(`{}`, headers...).id(t)
	}
	f.do("GET", "/", nil, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document").must(t, 200)
	f.do("GET", "/v1/lake", nil, "Host: evil.example").problem(t, 403, "cross-site")
	if f.stream.count() != 4 {
		t.Errorf("%d events are stored, want 4", f.stream.count())
	}
}

func idTime(t *testing.T, id string) time.Time {
	t.Helper()
	made, err := schemas.IDTime(id)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func futureID() string { return schemas.NewID(time.Now().Add(2 * time.Minute)) }
