// Package clienttest is a server for tests of the client and the commands: it keeps the promises of Penstock's API towards
// clients (ids, Idempotency-Key, batches, problems) in memory, and breaks connections and refuses on demand.
//
// Only tests import it.
package clienttest
