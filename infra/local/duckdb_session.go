package local

import (
	"fmt"
	"strconv"
	"strings"

	"penstock/schemas"
)

// A session is a DuckDB database in memory that holds nothing but the macros and the view events, and can't be made to
// hold or reach anything else. Every run has a session of its own: no run sees another, and each has a memory limit of
// its own.

// openEmpty opens the database of a session to be, with all that does not depend on the statement.
func openEmpty(l workerLimits) (*duckdbConn, error) {
	c, err := openDuckDB(map[string]string{
		"threads":                         strconv.Itoa(l.Threads),
		"memory_limit":                    bytesSetting(l.Memory),
		"temp_directory":                  l.Directory,
		"autoload_known_extensions":       "false",
		"autoinstall_known_extensions":    "false",
		"allow_community_extensions":      "false",
		"allow_persistent_secrets":        "false",
		"allow_unsigned_extensions":       "false",
		"allow_parser_override_extension": "default",
		"errors_as_json":                  "true",
	})
	if err != nil {
		return nil, err
	}
	if err := c.exec(emptySession); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// emptySession is what every session begins with.
const emptySession = "SET TimeZone = 'UTC';\nSET integer_division = true;\n" +
	"SET enable_profiling = 'no_output';\n" + `SET custom_profiling_settings = '{"TOTAL_BYTES_READ": "true"}';` + "\n" +
	"CREATE SCHEMA " + schemas.LakeNamespace + ";\n"

// sessionScript makes a session of an empty database: macros and files (none: an empty table), and then the lock. temp is
// the most that may be spilled, in bytes.
func sessionScript(macros string, files []string, temp int64) string {
	var script strings.Builder
	// As a setting at opening it would be shown but not obeyed.
	script.WriteString("SET max_temp_directory_size = '" + bytesSetting(temp) + "';\n")
	script.WriteString(macros)
	script.WriteString(eventsView(files))
	// DuckDB asks once for the pattern and once for the file that it finds.
	script.WriteString("SET allowed_paths = [" + sqlStrings(append(globPatterns(files), files...)) + "];\n")
	// From here on only those files can be opened, and no setting can be changed back.
	script.WriteString("SET enable_external_access = false;\nSET lock_configuration = true;\n")
	return script.String()
}

func bytesSetting(n int64) string { return strconv.FormatInt(n, 10) + "B" }

// eventsView creates events and penstock.events over the files. Columns are found by their Iceberg field id, so that a
// file written under an older schema of the table reads as Iceberg says: a column that it does not have is NULL.
func eventsView(files []string) string {
	var columns, fields strings.Builder
	for i, c := range schemas.EventColumns {
		if i > 0 {
			columns.WriteString(", ")
			fields.WriteString(", ")
		}
		if len(files) == 0 {
			fmt.Fprintf(&columns, "CAST(NULL AS %s) AS %q", columnSQL(c.Type), c.Name)
		} else {
			fmt.Fprintf(&columns, "%q", c.Name)
		}
		fmt.Fprintf(&fields, "%d: {'name': '%s', 'type': '%s', 'default_value': NULL}", c.FieldID, c.Name, columnSQL(c.Type))
	}
	source := "(SELECT 1) WHERE false"
	if len(files) > 0 {
		source = fmt.Sprintf("read_parquet([%s], schema = MAP {%s}, hive_partitioning = false)",
			sqlStrings(globPatterns(files)), fields.String())
	}
	return fmt.Sprintf("CREATE VIEW %[1]s.%[2]s AS SELECT %[3]s FROM %[4]s;\nCREATE VIEW %[2]s AS FROM %[1]s.%[2]s;\n",
		schemas.LakeNamespace, schemas.LakeTable, columns.String(), source)
}

// columnSQL is DuckDB's name of a lake type.
func columnSQL(t schemas.ColumnType) string {
	switch t {
	case schemas.TypeLong:
		return "BIGINT"
	case schemas.TypeTimestampTZ:
		return "TIMESTAMPTZ"
	case schemas.TypeStringMap:
		return "MAP(VARCHAR, VARCHAR)"
	default:
		return "VARCHAR"
	}
}

// globPatterns are glob patterns that match exactly the paths: read_parquet takes every path for a pattern.
func globPatterns(paths []string) []string {
	escaper := strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]")
	escaped := make([]string, len(paths))
	for i, path := range paths {
		escaped[i] = escaper.Replace(path)
	}
	return escaped
}

func sqlStrings(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = "'" + strings.ReplaceAll(v, "'", "''") + "'"
	}
	return strings.Join(quoted, ", ")
}
