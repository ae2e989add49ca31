// Package ingest takes documents and answers once they are durable: admission, validation, id, body to object storage
// when large, lane, group commit, ack.
//
// It is a core: it imports schemas and the standard library and small general libraries only, never consumer, an
// adapter, or a vendor's SDK. What it needs from outside is declared in ports.go.
package ingest
