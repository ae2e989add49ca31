package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"penstock/infra/deploy/pyiceberg"
)

const (
	// readers is how many events are fetched at once.
	readers = 8
	// getTries is how often an event is asked for whose answer is neither the event nor that there is none.
	getTries = 5
)

// collect gathers what both sinks have. They must be level.
func (r *round) collect(ctx context.Context) (evidence, error) {
	e := evidence{Posted: r.book.all()}
	var err error
	if e.Index, err = r.readIndex(ctx, e.Posted); err != nil {
		return e, fmt.Errorf("read the index: %w", err)
	}
	r.say("read %d events of the index", len(e.Index))
	err = pyiceberg.Each(ctx, r.deployment.table(), "", func(row pyiceberg.Row) error {
		e.Lake = append(e.Lake, foundRow(row, e.Posted))
		return nil
	})
	if err != nil {
		return e, fmt.Errorf("read the lake: %w", err)
	}
	r.say("read %d rows of the lake", len(e.Lake))
	if e.Stream, err = r.deployment.streamed(ctx); err != nil {
		return e, fmt.Errorf("read the stream: %w", err)
	}
	return e, nil
}

// foundRow is the row with the hash of its data; with that of its column sha256 where the data are right and the column is not.
func foundRow(row pyiceberg.Row, all map[string]posted) found {
	f := found{row.ID, markerOf([]byte(row.Data)), sha256.Sum256([]byte(row.Data))}
	if row.SHA256 != hex.EncodeToString(f.Sum[:]) && f.Sum == all[f.Marker].Sum {
		f.Sum = sum{}
		_, _ = hex.Decode(f.Sum[:], []byte(row.SHA256)[:min(len(row.SHA256), 2*len(f.Sum))]) // what is no hash is another one, too
	}
	return f
}

// readIndex fetches every event that the table has, and every one that was acked, through the front ends.
func (r *round) readIndex(ctx context.Context, all map[string]posted) (map[string]found, error) {
	ids, err := r.deployment.indexed(ctx)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	for _, p := range all {
		for _, id := range p.Acked {
			wanted[id] = true
		}
	}
	var mu sync.Mutex
	index := map[string]found{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for id := range wanted {
		group.Go(func() error {
			body, there, err := r.fetch(ctx, id)
			if err != nil || !there {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			index[id] = found{id, markerOf(body), sha256.Sum256(body)}
			return nil
		})
	}
	return index, group.Wait()
}

// fetch asks for an event until the answer is one, for a while.
func (r *round) fetch(ctx context.Context, id string) (body []byte, there bool, err error) {
	for range getTries {
		var status int
		status, body, err = r.client.get(ctx, r.front(), id)
		switch {
		case err == nil && status == http.StatusOK:
			return body, true, nil
		case err == nil && status == http.StatusNotFound:
			return nil, false, nil
		case err == nil:
			err = fmt.Errorf("get %s: status %d", id, status)
		}
		select {
		case <-time.After(againFirst):
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
	return nil, false, err
}
