//go:build !race

package main

// raceFactor is 1 without the race detector.
const raceFactor = 1
