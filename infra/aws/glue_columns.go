//go:build !frontend

package aws

import (
	"strconv"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/glue/types"

	"penstock/schemas"
)

// glueColumns are the events table's columns as pyiceberg and iceberg-go's own Glue catalog write them. Whoever reads the
// table goes by its metadata file; these are what the Glue and Athena consoles show.
func glueColumns() []types.Column {
	columns := make([]types.Column, 0, len(schemas.EventColumns))
	for _, c := range schemas.EventColumns {
		columns = append(columns, types.Column{
			Name: sdk.String(c.Name), Type: sdk.String(glueType(c.Type)), Comment: sdk.String(c.Doc),
			Parameters: map[string]string{
				"iceberg.field.id":       strconv.Itoa(c.FieldID),
				"iceberg.field.optional": strconv.FormatBool(!c.Required),
				"iceberg.field.current":  "true",
			},
		})
	}
	return columns
}

// glueType is Hive's name of a type; Hive has no time zones. The other types have the same name in both.
func glueType(t schemas.ColumnType) string {
	switch t {
	case schemas.TypeLong:
		return "bigint"
	case schemas.TypeTimestampTZ:
		return "timestamp"
	default:
		return string(t)
	}
}
