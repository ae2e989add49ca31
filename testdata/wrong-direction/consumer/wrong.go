package consumer

import (
	_ "github.com/cockroachdb/pebble/v2"

	_ "penstock/ingest"
)
