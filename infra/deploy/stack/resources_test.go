package main

import (
	"crypto/rand"
	"os"
	"slices"
	"strings"
	"testing"
)

// Without a word about endpoints setup would make things in an account, and they cost.
func TestSetupNeedsEndpoints(t *testing.T) {
	t.Parallel()
	err := (&resources{Shards: 1}).create(t.Context(), []string{
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_ENDPOINT_URL_GLUE=http://127.0.0.1:1",
		"PENSTOCK_STREAM=s", "PENSTOCK_BUCKET=b", "PENSTOCK_DATABASE=",
	})
	if err == nil || err.Error() != "not set: AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL_S3, PENSTOCK_DATABASE" {
		t.Error(err)
	}
}

// docker-compose.yml's setup runs at every `docker compose up`, also when all is there.
func TestConformSetup(t *testing.T) {
	t.Parallel()
	if os.Getenv("AWS_ENDPOINT_URL_KINESIS") == "" {
		if os.Getenv("PENSTOCK_CONFORMANCE") == "1" {
			t.Fatal("AWS_ENDPOINT_URL_KINESIS is not set")
		}
		t.Skip("runs in `make conformance`, which starts the services")
	}
	name := "setup-" + strings.ToLower(rand.Text())[:12]
	environment := slices.Concat(os.Environ(), []string{
		"PENSTOCK_STREAM=" + name, "PENSTOCK_BUCKET=" + name, "PENSTOCK_DATABASE=" + strings.ReplaceAll(name, "-", "_"),
	})
	for range 2 {
		if err := (&resources{Shards: 1}).create(t.Context(), environment); err != nil {
			t.Fatal(err)
		}
	}
}
