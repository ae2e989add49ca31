// Package iceberg is the lake: the Apache Iceberg v2 table penstock.events (https://iceberg.apache.org/spec/), written
// through iceberg-go and Arrow, exactly once. A flush is one commit that adds its data files and moves its shards'
// offsets; the offsets live in the table itself, in one property, and a commit carries the requirement that this
// property is still what it was built on. So neither leases nor clocks decide what is in the table.
//
// Files, where the table lies, makes each file durable before anything refers to it: LocalFiles syncs it with the
// directories that name it. The table's current version is one value behind a Pointer that is swapped by
// compare-and-set. A power cut at any moment leaves the version before or after a commit, complete.
//
// The package imports consumer and schemas (it implements consumer.Lake), iceberg-go, Arrow, and Pebble's vfs for a
// file system that tests can cut the power of. It must never use iceberg-go's own commit retry, which adds files again
// blindly; never take an error of a commit for its failure, but read the table back; and never delete a data file, a
// manifest, or a manifest list, but those of an operation of its own that never came to swap the pointer, or that found
// it moved, and in the orphan sweep.
//
// An Upkeep compacts the table, forgets old snapshots and sweeps. Each is correct whatever happens beside it or in the
// midst of it, since a compaction is a commit like any other and the sweep goes by what the table says.
package iceberg
