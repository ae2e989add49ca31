package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"penstock/ingest/httpapi"
)

// listen opens the listeners of a front end; admin is nil when /metrics are served by the other. After an error none is open.
func (c *frontFlags) listen(ctx context.Context) (front, admin net.Listener, err error) {
	var lc net.ListenConfig
	if front, err = lc.Listen(ctx, "tcp", c.Listen); err != nil {
		return nil, nil, fmt.Errorf("--listen: %w", err)
	}
	address := c.AdminListen
	if address == "" && !isLoopback(c.Listen) {
		address = "127.0.0.1:9090"
	}
	if address == "" {
		return front, nil, nil
	}
	if admin, err = lc.Listen(ctx, "tcp", address); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("--admin-listen: %w", err), front.Close())
	}
	return front, admin, nil
}

// serverConfig is that of the HTTP side, with the keys loaded.
func (c *frontFlags) serverConfig(metricsOnMain bool) (httpapi.Config, error) {
	cfg := httpapi.Defaults()
	cfg.MetricsOnMain = metricsOnMain
	if c.KeyFile == "" {
		return cfg, nil
	}
	keys, err := httpapi.LoadKeys(c.KeyFile)
	if err != nil {
		return cfg, fmt.Errorf("--key-file: %w", err)
	}
	cfg.Keys = keys
	return cfg, nil
}

// adminLine says where /metrics are, when they are not with the HTTP API.
func adminLine(admin net.Listener) string {
	if admin == nil {
		return ""
	}
	return "  admin http://" + admin.Addr().String() + "\n"
}

// closeListeners closes those that are there and not closed yet.
func closeListeners(listeners ...net.Listener) error {
	var errs []error
	for _, ln := range listeners {
		if ln != nil {
			if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
