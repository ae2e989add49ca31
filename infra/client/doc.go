// Package client is the other side of Penstock's HTTP API: it posts documents, reads them back, runs SQL and looks at
// the lake and the dead letters, for the commands that take --url and --key.
//
// Every request that stores something carries an Idempotency-Key that is made once and used for every try, so an answer
// that is lost on the way never makes a second event. Sender does this for whole files, directories and streams of NDJSON
// with bounded memory.
//
// It imports schemas for its limits, and otherwise only the standard library: neither core, nor another adapter. It
// never prints or logs, never puts the key in an error, follows no redirect, and never changes a byte of a document.
package client
