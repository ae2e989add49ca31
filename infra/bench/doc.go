// Command bench is the harness behind `make bench` and `make endure`: it measures the real program, started as a process of
// its own, as ratios against named limits, or against itself when it was young. Nothing it measures is a test.
//
// In every row of `make bench` a comparator (the limit) and the subject alternate, round by round, in one run on one machine,
// so that a slow machine or a slow minute hits both; the ratio of each pair of rounds is taken, and the median of the pairs
// is reported. While the comparator runs, the program under test is stopped (SIGSTOP), so that the work which it still has
// in the background is charged to its own rounds and not to the comparator's.
//
// What has no face over HTTP, or takes DuckDB to compare with, is a benchmark among the tests of its package, which the
// harness runs (goBenchmarks, month). So it stays free of cgo.
//
// It may import schemas, Fiber, the WebSocket of our dependencies and the standard library; never an adapter or a core: what is under test is what users run.
package main
