//go:build !frontend

package aws_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"penstock/infra/deploy/pyiceberg"
)

// wantByPyiceberg fails unless pyiceberg reads exactly these bodies.
func wantByPyiceberg(t *testing.T, table string, want map[string][]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // the first one installs it
	defer cancel()
	rows, err := pyiceberg.Read(ctx, table)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, row := range rows {
		got[row.ID] = append(got[row.ID], row.Data)
	}
	for id, bodies := range want {
		if !slices.Equal(got[id], bodies) {
			t.Errorf("pyiceberg has %s as %.200q, want %.200q", id, got[id], bodies)
		}
	}
	if len(got) != len(want) {
		t.Errorf("pyiceberg has %d events, want %d", len(got), len(want))
	}
}
