// Package httpapi is Penstock's HTTP front: it reads requests, hands documents to ingest, and answers from the index,
// the lake's queries and the dead letters; in a browser it is the console. Every error leaves it as RFC 9457 problem+json.
//
// It is an adapter on Fiber v2 (fasthttp): it may import ingest, consumer, consumer/query and schemas, never another
// adapter, and no Fiber or fasthttp type stands in its exported signatures.
//
// What it must never do: ack before ingest did; hand request memory (fasthttp reuses it) to anybody who outlives the
// handler; read body bytes that are not reserved in the budget; or go on using a connection whose request body was not
// read to its end, because the rest of that body would be run as the next request.
package httpapi
