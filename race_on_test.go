//go:build race

package main

// raceFactor is how much more memory and time the race detector may take: its shadow is 5 to 10 times what is in use
// (https://go.dev/doc/articles/race_detector#Runtime_Overheads), but most of the peak here is not touched by two,
// and what is timed mostly waits.
const raceFactor = 3
