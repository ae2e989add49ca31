package client

import (
	"context"
	"net/http"
)

// Ready returns nil when the server, or a process that serves nothing but its probes and metrics, says that everything it
// depends on is proven.
func (c *Client) Ready(ctx context.Context) error {
	res, err := c.call(ctx, request{method: http.MethodGet, path: []string{"readyz"}}, http.StatusOK)
	if err != nil {
		return err
	}
	_, err = readAnswer(res)
	return err
}
