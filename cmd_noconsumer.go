//go:build frontend

package main

// consumerCommands are not in the front end alone.
type consumerCommands struct{}

// checkScope is what a front end uses.
type checkScope struct{}

func (*checkScope) isFor(process string) bool { return process == "ingest" }

// lakeProof is never asked for.
func (*checkScope) lakeProof(*awsParts, string) proof { return proof{} }
