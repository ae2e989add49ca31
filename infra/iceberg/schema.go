package iceberg

import (
	"fmt"

	icebergo "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"penstock/schemas"
)

// Field ids of the parts of the "extensions" map, as schemas.EventColumns documents them.
const (
	extensionKeyID   = 20
	extensionValueID = 21
)

// dayPartitionID is the id of the only partition field, the day of received_at. Iceberg counts them from 1000.
const dayPartitionID = 1000

// formatVersion is Iceberg's; Athena reads 2.
const formatVersion = 2

const (
	// targetFileSize is where a data file is full: large enough that a day has few, small enough that a compaction of
	// some is cheap.
	targetFileSize = 128 << 20
	// rowGroupBytes bounds a row group, compressed: a writer holds one in memory, and a row may hold 10 MiB.
	rowGroupBytes = 32 << 20
	// pageRows is after how many rows a writer looks whether a page is full (1 MiB). With iceberg-go's default of 20,000 all
	// bodies of a row group are one page, which its writer and every reader hold unfolded.
	pageRows = 2048
	// keepSnapshots bounds the table's metadata, which each commit writes as a whole.
	keepSnapshots = 50
)

// dictionaryPrefix, with a column's name behind it, is the property that switches its dictionary on or off.
const dictionaryPrefix = "write.parquet.dict-encoding-enabled.column."

// tableIdent is the table's name in a catalog.
func tableIdent() table.Identifier { return table.Identifier{schemas.LakeNamespace, schemas.LakeTable} }

// eventSchema is the Iceberg schema of schemas.EventColumns.
func eventSchema() (*icebergo.Schema, error) {
	fields := make([]icebergo.NestedField, 0, len(schemas.EventColumns))
	for _, c := range schemas.EventColumns {
		typ, err := columnType(c.Type)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
		fields = append(fields, icebergo.NestedField{
			ID: c.FieldID, Name: c.Name, Type: typ, Required: c.Required, Doc: c.Doc,
		})
	}
	return icebergo.NewSchema(0, fields...), nil
}

func columnType(t schemas.ColumnType) (icebergo.Type, error) {
	switch t {
	case schemas.TypeString:
		return icebergo.PrimitiveTypes.String, nil
	case schemas.TypeLong:
		return icebergo.PrimitiveTypes.Int64, nil
	case schemas.TypeTimestampTZ:
		return icebergo.PrimitiveTypes.TimestampTz, nil
	case schemas.TypeStringMap:
		return &icebergo.MapType{
			KeyID: extensionKeyID, KeyType: icebergo.PrimitiveTypes.String,
			ValueID: extensionValueID, ValueType: icebergo.PrimitiveTypes.String, ValueRequired: true,
		}, nil
	default:
		return nil, fmt.Errorf("no Iceberg type for %q", t)
	}
}

// columnID finds a column's field id by its name.
func columnID(name string) (int, error) {
	for _, c := range schemas.EventColumns {
		if c.Name == name {
			return c.FieldID, nil
		}
	}
	return 0, fmt.Errorf("the events table has no column %q", name)
}

// newTableMetadata is the first version of the table at location.
func newTableMetadata(location string) (table.Metadata, error) {
	schema, err := eventSchema()
	if err != nil {
		return nil, err
	}
	receivedID, err := columnID("received_at")
	if err != nil {
		return nil, err
	}
	spec := icebergo.NewPartitionSpec(icebergo.PartitionField{
		SourceIDs: []int{receivedID}, FieldID: dayPartitionID, Name: "received_at_day", Transform: icebergo.DayTransform{},
	})
	var sort []table.SortField
	for _, name := range []string{"type", "id"} {
		id, err := columnID(name)
		if err != nil {
			return nil, err
		}
		sort = append(sort, table.SortField{
			SourceIDs: []int{id}, Transform: icebergo.IdentityTransform{},
			Direction: table.SortASC, NullOrder: table.NullsFirst,
		})
	}
	order, err := table.NewSortOrder(1, sort)
	if err != nil {
		return nil, fmt.Errorf("sort order: %w", err)
	}
	return buildMetadata(schema, spec, order, location)
}

// buildMetadata puts the definition together. table.NewMetadata would do it, but it numbers all fields anew, the parts
// of a map right behind it, and the ids of the columns are part of schemas' contract.
func buildMetadata(
	schema *icebergo.Schema, spec icebergo.PartitionSpec, order table.SortOrder, location string,
) (table.Metadata, error) {
	const lastAdded = -1
	b, err := table.NewMetadataBuilder(formatVersion)
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return b.SetUUID(uuid.New()) },
		func() error { return b.SetLoc(location) },
		func() error { return b.AddSchema(schema) },
		func() error { return b.SetCurrentSchemaID(lastAdded) },
		func() error { return b.AddPartitionSpec(&spec, true) },
		func() error { return b.SetDefaultSpecID(lastAdded) },
		func() error { return b.AddSortOrder(&order) },
		func() error { return b.SetDefaultSortOrderID(lastAdded) },
		func() error { return b.SetProperties(tableProperties()) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b.Build()
}

// tableProperties are those of a new table (https://iceberg.apache.org/docs/latest/configuration/). The Glue catalog
// copies them all into Glue's parameters, so there are few.
func tableProperties() icebergo.Properties {
	return icebergo.Properties{
		table.WriteTargetFileSizeBytesKey: fmt.Sprint(targetFileSize),
		table.ParquetCompressionKey:       "zstd",
		table.ParquetCompressionLevelKey:  "1", // a third of the time of the default, for a tenth more bytes
		table.ParquetRowGroupSizeBytesKey: fmt.Sprint(rowGroupBytes),
		table.ParquetPageRowLimitKey:      fmt.Sprint(pageRows),
		// Bounds of bodies, hashes and positions prune nothing and would fill the manifests.
		table.MetricsModeColumnConfPrefix + ".data":       "counts",
		table.MetricsModeColumnConfPrefix + ".sha256":     "counts",
		table.MetricsModeColumnConfPrefix + ".sequence":   "counts",
		table.MetricsModeColumnConfPrefix + ".extensions": "none",
		// No two rows share these values, so building a dictionary of them is work for nothing.
		dictionaryPrefix + "id":       "false",
		dictionaryPrefix + "data":     "false",
		dictionaryPrefix + "sha256":   "false",
		dictionaryPrefix + "sequence": "false",
		// Each commit writes the metadata and the list of manifests anew, so both are kept short: old versions are
		// forgotten and their files removed, and every 50 commits the small manifests become one of at most 2 MiB.
		table.MetadataPreviousVersionsMaxKey:      "30",
		table.MetadataDeleteAfterCommitEnabledKey: "true",
		table.ManifestMergeEnabledKey:             "true",
		table.ManifestMinMergeCountKey:            "50",
		table.ManifestTargetSizeBytesKey:          fmt.Sprint(2 << 20),
		table.CommitNumRetriesKey:                 "0",
	}
}

// checkTable refuses a table that this version of Penstock can't write to without harm.
func checkTable(meta table.Metadata) error {
	if v := meta.Version(); v != formatVersion {
		return fmt.Errorf("the lake table has Iceberg format version %d, this version of Penstock writes %d",
			v, formatVersion)
	}
	want, err := eventSchema()
	if err != nil {
		return err
	}
	have := meta.CurrentSchema()
	for _, f := range want.Fields() {
		got, ok := have.FindFieldByID(f.ID)
		if !ok || got.Name != f.Name || !got.Type.Equals(f.Type) {
			return fmt.Errorf("column %d of the lake table is not %s %s: it was written by another version of Penstock",
				f.ID, f.Name, f.Type)
		}
	}
	for _, f := range have.Fields() {
		if _, ok := want.FindFieldByID(f.ID); !ok && f.Required {
			return fmt.Errorf("the lake table requires column %q, which this version of Penstock does not write", f.Name)
		}
	}
	// A data file says of itself in which partition it lies, and engines believe it.
	spec := meta.PartitionSpec()
	if spec.NumFields() != 1 || spec.Field(0).FieldID != dayPartitionID || spec.Field(0).Transform != (icebergo.DayTransform{}) {
		return fmt.Errorf("the lake table is partitioned by %v, this version of Penstock writes days of receipt", spec)
	}
	// iceberg-go's own retry rebases blindly and adds the same files twice.
	if n := meta.Properties().GetInt(table.CommitNumRetriesKey, table.CommitNumRetriesDefault); n != 0 {
		return fmt.Errorf("table property %s is %d; set it to 0, since retried commits double rows",
			table.CommitNumRetriesKey, n)
	}
	return nil
}
