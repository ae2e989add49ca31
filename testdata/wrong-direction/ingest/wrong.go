package ingest

import _ "penstock/ingest/httpapi"
