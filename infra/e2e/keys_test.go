package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"testing"
)

// testKey is a key like those of `penstock keys new`.
const testKey = "psk_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// keyFile writes a key file that knows testKey.
func keyFile(t *testing.T) string {
	t.Helper()
	sum := sha256.Sum256([]byte(testKey))
	path := filepath.Join(t.TempDir(), "keys.txt")
	write(t, path, "browser "+hex.EncodeToString(sum[:])+"\n")
	return path
}
