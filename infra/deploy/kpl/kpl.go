// Package kpl packs and unpacks records in the Kinesis Producer Library's aggregated format with code that nobody here wrote, for
// tests: PyPI's aws_kinesis_agg, by AWS. It is pinned and installed with the peers (infra/deploy/stack).
package kpl

import (
	"bytes"
	"context"
	_ "embed" // the script
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

//go:embed records.py
var script string

// pythonPath is the variable by which the peers' stack tells where its Python packages are.
const pythonPath = "PENSTOCK_STACK_PYTHON"

// UserRecord is one record of those that an aggregated record holds.
type UserRecord struct {
	PartitionKey    string `json:"partition_key"`
	ExplicitHashKey string `json:"explicit_hash_key"` // decimal; empty for none
	Data            []byte `json:"data"`
	// Aggregated says that an unpacked record was in an aggregated one, whole and with the right checksum.
	Aggregated bool `json:"aggregated"`
}

// Aggregate packs user records, in order, into as few records as they take. A record's keys are those of its first user record,
// by which it is to be put.
func Aggregate(ctx context.Context, users []UserRecord) ([]UserRecord, error) {
	var packed []UserRecord
	return packed, run(ctx, "aggregate", users, &packed)
}

// Deaggregate unpacks each record. One that is not aggregated, or not whole, is given back as it is.
func Deaggregate(ctx context.Context, records [][]byte) ([][]UserRecord, error) {
	var unpacked [][]UserRecord
	return unpacked, run(ctx, "deaggregate", records, &unpacked)
}

func run(ctx context.Context, command string, in, out any) error {
	path := os.Getenv(pythonPath)
	if path == "" {
		return errors.New(pythonPath + " is not set: start the peers first, as make conformance does")
	}
	asked, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("aws_kinesis_agg: %w", err)
	}
	cmd := exec.CommandContext(ctx, "python3", "-c", script, command)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+path, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stdin = bytes.NewReader(asked)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	told, err := cmd.Output()
	if err == nil && stderr.Len() > 0 {
		err = errors.New("it complains") // of what it can't unpack, and goes on
	}
	if err != nil {
		return fmt.Errorf("aws_kinesis_agg: %s: %w\n%s", command, err, stderr.Bytes())
	}
	if err := json.Unmarshal(told, out); err != nil {
		return fmt.Errorf("aws_kinesis_agg: %s: %w in %.200s", command, err, told)
	}
	return nil
}
