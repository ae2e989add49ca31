package schemas

import _ "embed"

// OpenAPI is the description of the HTTP API, OpenAPI 3.1 in YAML. The tests of ingest/httpapi hold every route, status
// and body against it.
//
//go:embed openapi.yaml
var OpenAPI []byte
