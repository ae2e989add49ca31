//go:build !frontend

package aws

import "github.com/aws/aws-sdk-go-v2/service/glue"

// Glue makes the client of the lake's catalog. It is apart from the others because its package is the largest by far, and a
// front end has no use for it.
func (c Clients) Glue() *glue.Client { return glue.NewFromConfig(c.config) }
