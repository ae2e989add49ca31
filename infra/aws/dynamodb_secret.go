package aws

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// secretBytes is the length of a secret.
const secretBytes = 32

// Secret returns what all processes of one state table have in common and nobody else knows; the first to ask makes it. Whoever may
// read the table may read it.
func Secret(ctx context.Context, c Clients, t Tables, name string) ([]byte, error) {
	state := table{c.DynamoDB, t.State}
	key := stateKey("secret#"+name, "secret")
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the process rather than return an error
	own := stateKey("secret#"+name, "secret")
	own["s"] = bytesValue(secret)
	// Whatever became of that, what is there now stands.
	if err := state.put(ctx, own, "attribute_not_exists(pk)", nil); err != nil && !errors.Is(err, errConflict) {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	found, err := state.get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	stored, ok := found["s"].(*types.AttributeValueMemberB)
	if !ok || len(stored.Value) < secretBytes {
		return nil, fmt.Errorf("secret %s: the state table holds something else in its place", name)
	}
	return stored.Value, nil
}
