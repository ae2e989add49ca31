// Package aws holds the adapters of a Penstock on AWS: the stream on Kinesis Data Streams, index and state in DynamoDB, bodies
// in S3, the lake's catalog in Glue and its files in S3. Its source files are named like those of infra/local, whose adapters
// implement the same ports.
//
// It imports the ports it implements (ingest, consumer), schemas, the AWS SDK, and of iceberg-go the interfaces of files. It
// must never import another adapter, the HTTP side, or the command line, and none of its types may appear in a core. Pointer
// and Files fit what infra/iceberg asks for without knowing it.
//
// # Unknown is not failed
//
// The SDK repeats a request by itself, and then tells of the last try only. Where a repeated request that had landed already
// makes a double, or is told a conflict with itself, its retries are off (once): PutRecords and UpdateTable. What
// became of a write that ended with an error is decided in one place, outcome.
//
// # What Kinesis does not tell
//
// It goes on behind a record that it has dropped as if nothing were missing. So a reader that starts anew is given the record
// at which it stopped again, as the proof that none is gone (cursor.prove), and is told consumer.ErrTrimmed when it is not there.
// In a shard in which nothing has arrived for longer than the stream keeps records that says nothing; there a consumer that was
// at the tip within the last 23 hours goes on, since no stream drops a record within its first day (Page.Kept, keptSince). One
// that was away for longer stops, though it may have missed nothing: how long the stream has kept records by now is not told.
//
// Times of arrival have no guaranteed accuracy and need not ascend in a shard. So a page's AsOf and the begin of a reading back
// keep a margin (asOfMargin, historyMargin), and nothing else goes by them.
package aws
