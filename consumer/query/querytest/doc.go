// Package querytest holds the conformance suites of package query's ports: what every adapter has to do, run on each of them.
//
// A suite takes the name of the backend, which it logs, and a function that makes a fresh one for each test. That
// function fails the test, and never skips it, when the backend is not there.
//
// It imports query and general libraries only, and is imported by tests only.
package querytest
