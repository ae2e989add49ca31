package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxAnswer bounds a JSON answer that is neither a document nor a result: 500 dead letters without their records.
const maxAnswer = 16 << 20

// read sends the request and decodes the answer's JSON.
func (c *Client) read(ctx context.Context, r request, into any, want ...int) error {
	res, err := c.call(ctx, r, want...)
	if err != nil {
		return err
	}
	body, err := readAnswer(res)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the answer to %s %s is not the expected JSON: is this the URL of Penstock? (%w)",
			r.method, res.Request.URL.Path, err)
	}
	return nil
}

// readAnswer reads a short answer to its end and closes it.
func readAnswer(res *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, &TransportError{
			Method: res.Request.Method, URL: res.Request.URL.Scheme + "://" + res.Request.URL.Host, Path: res.Request.URL.Path, Err: err,
		}
	}
	return body, nil
}
