package faultproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// GlueVersions refuses an UpdateTable whose VersionId is not the table's with ConcurrentModificationException: the optimistic lock
// that an Iceberg commit rests on (https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html).
func GlueVersions() Law {
	return func(_ Clock, next deliver) deliver {
		tables := keyed[*sync.Mutex]{make: func() *sync.Mutex { return &sync.Mutex{} }}
		return func(ctx context.Context, r *request) (*answer, error) {
			if r.Service != Glue || r.Operation != "UpdateTable" {
				return next(ctx, r)
			}
			var asked struct {
				CatalogID    string `json:"CatalogId,omitempty"`
				DatabaseName string
				VersionID    string `json:"VersionId,omitempty"`
				TableInput   struct{ Name string }
			}
			if err := json.Unmarshal(r.body, &asked); err != nil || asked.VersionID == "" {
				return next(ctx, r)
			}
			table := tables.of(r.Resource)
			table.Lock()
			defer table.Unlock()
			look := r.with(mustJSON(map[string]string{"DatabaseName": asked.DatabaseName, "Name": asked.TableInput.Name}))
			look.Operation = "GetTable"
			look.header.Set("X-Amz-Target", "AWSGlue.GetTable")
			a, err := next(ctx, look)
			if err != nil || a.status != http.StatusOK {
				return a, err
			}
			var told struct {
				Table struct {
					VersionID string `json:"VersionId"`
				}
			}
			if err := json.Unmarshal(a.body, &told); err != nil {
				return nil, fmt.Errorf("fault proxy: answer of GetTable: %w", err)
			}
			if told.Table.VersionID != asked.VersionID {
				return errorAnswer(Glue, http.StatusBadRequest, "ConcurrentModificationException",
					"Update table failed due to concurrent modifications."), nil
			}
			return next(ctx, r)
		}
	}
}

// keyed are values by a name, made when they are first asked for.
type keyed[V any] struct {
	make func() V
	mu   sync.Mutex
	all  map[string]V
}

func (k *keyed[V]) of(name string) V {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil {
		k.all = map[string]V{}
	}
	v, ok := k.all[name]
	if !ok {
		v = k.make()
		k.all[name] = v
	}
	return v
}
