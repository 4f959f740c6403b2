// Package docs holds the documents that the binary serves itself.
package docs

import _ "embed"

// OpenAPI describes the hub's HTTP API (OpenAPI 3.1).
//
//go:embed openapi.yaml
var OpenAPI []byte
