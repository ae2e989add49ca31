//go:build frontend

package main

import "slices"

// consumerCommands are not in the front end alone.
type consumerCommands struct{}

// checkScope says what is checked.
type checkScope struct {
	For []string `default:"ingest" enum:"ingest,query" env:"PENSTOCK_FOR" help:"Whose things to check: those of ingest, and of ingest with --routes query."`
}

func (s *checkScope) isFor(process string) bool { return slices.Contains(s.For, process) }

// lakeProof is never asked for.
func (*checkScope) lakeProof(*awsParts, string, string) proof { return proof{} }
