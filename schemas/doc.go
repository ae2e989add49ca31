// Package schemas is the contract between the two halves of Penstock: what ingest writes on the stream is what
// consumers read from it, and what clients post is what they get back.
//
// It holds the event and its CloudEvents JSON codec, the KPL aggregated record format, the strict JSON validation of
// bodies, event ids, limits, stream positions, and the definition of the lake table.
//
// It imports no other package of Penstock and no vendor's type stands in its exported signatures.
package schemas
