package iceberg

import "context"

// Pointer holds the location of the table's current metadata file, which is the table's current version. Whoever swaps
// it has committed.
type Pointer interface {
	// Load returns the location, or "" when there is no table yet.
	Load(ctx context.Context) (string, error)
	// Swap puts next in the place of prev ("": there must be none yet), atomically among all processes, and reports
	// whether it did; true only when that is durable. False means that the pointer held something else and is as it
	// was. After an error it may have been swapped, or (on a remote store) may yet be, but not any more once the pointer
	// is seen to hold something other than prev.
	Swap(ctx context.Context, prev, next string) (bool, error)
}
