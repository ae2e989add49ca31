package schemas

// Table names of the lake.
const (
	LakeNamespace = "penstock"
	LakeTable     = "events"
)

// ColumnType is a primitive type of the lake, by its Iceberg name
// (https://iceberg.apache.org/spec/#primitive-types).
type ColumnType string

// Column types used by the events table.
const (
	TypeString      ColumnType = "string"
	TypeLong        ColumnType = "long"
	TypeTimestampTZ ColumnType = "timestamptz"
	TypeStringMap   ColumnType = "map<string,string>"
)

// Column is a column of the lake table. FieldID is Iceberg's and never changes once written.
type Column struct {
	FieldID  int
	Name     string
	Type     ColumnType
	Required bool
	Doc      string
}

// EventColumns are the columns of penstock.events in order. Field ids 20 and 21 are key and value of "extensions".
var EventColumns = []Column{
	{1, "id", TypeString, true, "KSUID made by ingest"},
	{2, "received_at", TypeTimestampTZ, true, "when ingest took the event; the table is partitioned by its day"},
	{3, "event_time", TypeTimestampTZ, true, "the client's time, or the receipt"},
	{4, "landed_at", TypeTimestampTZ, true, "when the lake sink wrote the row; for incremental models"},
	{5, "type", TypeString, true, "CloudEvents type"},
	{6, "source", TypeString, true, "CloudEvents source"},
	{7, "subject", TypeString, false, "CloudEvents subject"},
	{8, "partition_key", TypeString, false, "the client's partitionkey"},
	{9, "origin_id", TypeString, false, "the client's own CloudEvents id"},
	{10, "content_type", TypeString, true, "media type of data"},
	{11, "data_schema", TypeString, false, "CloudEvents dataschema"},
	{12, "tenant", TypeString, false, "tenant of the credential"},
	{13, "size", TypeLong, true, "bytes of the body"},
	{14, "sha256", TypeString, true, "hex SHA-256 of the body"},
	{15, "data", TypeString, false, "the body as posted; NULL when only data_ref holds it"},
	{16, "data_ref", TypeString, false, "s3:// address of a body that was posted through object storage"},
	{17, "extensions", TypeStringMap, false, "other CloudEvents attributes"},
	{18, "shard", TypeString, true, "stream shard"},
	{19, "sequence", TypeString, true, "position in the shard: sequence/sub"},
}
