// Package tabular reads the CSV that Penstock answers queries with, in which NULL and the empty string differ, and writes
// it as a table for people or as a JSON object per row for machines.
//
// It imports no package of Penstock. It holds one row at a time, a Table up to its limits, and never lets a value steer
// the terminal it is shown on.
package tabular
