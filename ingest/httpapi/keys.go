package httpapi

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
)

// maxKeys bounds the key file: every request is compared with all of them.
const maxKeys = 1000

// Keys are the API keys by their SHA-256. A key is random and long (GenerateKey), so a plain hash can't be reversed and
// a slow one would only cost every request.
type Keys struct {
	names  []string
	hashes [][sha256.Size]byte
}

// LoadKeys reads a key file: a line per key with its name and the hex SHA-256 of the key (HashKey), separated by blanks.
// Empty lines and lines that begin with # are skipped. Names are unique; there is at least one key.
func LoadKeys(path string) (*Keys, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return keys, nil
}

func parseKeys(data []byte) (*Keys, error) {
	keys := &Keys{}
	seen := make(map[string]bool)
	lines := bufio.NewScanner(bytes.NewReader(data))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return nil, fmt.Errorf("line %d: must be a name and the key's SHA-256 in hex", number)
		}
		name := fields[0]
		var hash [sha256.Size]byte
		decoded, err := hex.DecodeString(fields[1])
		if err != nil || copy(hash[:], decoded) != len(decoded) || len(decoded) != len(hash) {
			return nil, fmt.Errorf("line %d: the second field must be the SHA-256 of the key, 64 hex digits, not the key", number)
		}
		if seen[name] {
			return nil, fmt.Errorf("line %d: the name %q is there twice", number, name)
		}
		seen[name] = true
		keys.names = append(keys.names, name)
		keys.hashes = append(keys.hashes, hash)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(keys.names) == 0 {
		return nil, errors.New("holds no key")
	}
	if len(keys.names) > maxKeys {
		return nil, fmt.Errorf("holds %d keys, more than %d", len(keys.names), maxKeys)
	}
	return keys, nil
}

// GenerateKey makes a key of 256 random bits.
func GenerateKey() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process rather than return an error
	return "psk_" + hex.EncodeToString(b[:])
}

// HashKey is what stands for a key in the key file.
func HashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// match returns the name of the key. It takes the same time whichever key matches, and if none does.
func (k *Keys) match(key []byte) (name string, ok bool) {
	sum := sha256.Sum256(key)
	found := -1
	for i := range k.hashes {
		same := subtle.ConstantTimeCompare(k.hashes[i][:], sum[:])
		found = subtle.ConstantTimeSelect(same, i, found)
	}
	if found < 0 {
		return "", false
	}
	return k.names[found], true
}
