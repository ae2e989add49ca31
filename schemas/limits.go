package schemas

// Limits of one event, and of what may be asked. Sizes are in bytes.
const (
	// MaxBody is the largest body that a POST accepts, after content decoding: 10 MiB, as Kinesis' largest record and
	// Athena's row limit (32 MB) both allow for.
	MaxBody = 10_485_760
	// MaxInlineBody is the largest body that travels inside its event. A larger one goes to object storage first and
	// the event carries a dataref. With MaxAttributes it keeps an inline event below Kinesis' default record limit of
	// 1 MiB (https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html).
	MaxInlineBody = 1_000_000
	// MaxAttributes is the most that all attributes together may take up in the encoded event.
	MaxAttributes = 16 << 10
	// MaxBatchItems is the most events that one batch request may hold.
	MaxBatchItems = 10_000
	// MaxDepth is the deepest nesting of arrays and objects in an event's data, whatever that came in.
	MaxDepth = 1_000
	// MaxAggregateEvents is the most events in one aggregated record: Firehose breaks above 500.
	MaxAggregateEvents = 500
	// MaxAggregateBytes is the size up to which events are gathered in one record; a single larger event goes alone.
	MaxAggregateBytes = 256 << 10
	// MaxSQL is Athena's limit for a query string
	// (https://docs.aws.amazon.com/athena/latest/ug/service-limits.html).
	MaxSQL = 262_144
)
