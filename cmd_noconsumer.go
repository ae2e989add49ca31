//go:build frontend

package main

// consumerCommands are not in the front end alone.
type consumerCommands struct{}
