package aws

import (
	"bytes"
	"sync"
	"testing"
)

// TestSecretConform: all who ask have the same, also those who ask at once; another name has another.
func TestSecretConform(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint)
	tables := newTables(t, c)
	secrets := make([][]byte, 16)
	var asked sync.WaitGroup
	for i := range secrets {
		asked.Go(func() {
			var err error
			if secrets[i], err = Secret(t.Context(), c, tables, "tickets"); err != nil {
				t.Error(err)
			}
		})
	}
	asked.Wait()
	for _, s := range secrets {
		if len(s) != secretBytes || !bytes.Equal(s, secrets[0]) {
			t.Fatalf("%x and %x", s, secrets[0])
		}
	}
	if other, err := Secret(t.Context(), c, tables, "other"); err != nil || bytes.Equal(other, secrets[0]) {
		t.Errorf("%x, %v", other, err)
	}
}
