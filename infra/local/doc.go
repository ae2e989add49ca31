// Package local holds the adapters of a Penstock that runs on one machine, without an account and without a container:
// the stream and all other state in one Pebble database, the index in another, bodies as plain files behind an embedded
// S3 endpoint, and SQL in DuckDB.
//
// It imports the ports it implements (ingest, consumer, consumer/query), schemas, and the embedded engines. It must
// never import another adapter, the HTTP side, or the command line, and none of its types may appear in a core.
//
// # Durability
//
// What is acked survives kill -9 and the loss of power: every write that somebody is told about is synced first,
// its directory entries included. A record becomes visible to readers only after its sync, so that nothing built from
// the stream can ever be ahead of it. Writes that can be made again (a lease renewal; a claim's "done" mark) are not synced,
// and say so where they are made. The index has no log at all: after a crash it is read again from the stream, from the
// last checkpoint that it had flushed, and no record is trimmed before that has passed it.
//
// # When the disk fails or fills
//
// Config.MinFree keeps a reserve: below it new data is refused with ingest.ErrStorageFull while sinks can still move
// their checkpoints, so that trimming can make room; the sinks' own writes, also the lake's data files, stop at a quarter of
// the reserve. SQL's results and spilled data stop at twice the reserve, and are removed before a start needs room. When a
// flush of Pebble fails nevertheless, all writes are refused until a later flush succeeds; Pebble retries by itself.
//
// An error of the write-ahead log or of the manifest is another matter: nobody knows what is on disk, and only a
// restart, which replays the log, can tell. From then on the Store is failed: Store.Err says why, Store.Failed is
// closed, and every write is refused. What was published before stays readable. The writes that were under way are
// ambiguous and are never published by this process. In two cases Pebble leaves no choice: when it can't start a new
// write-ahead log file, or can't sync its directory, it ends the process with a panic. That is a crash like any other,
// and loses nothing acked.
package local
