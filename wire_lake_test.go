//go:build !frontend

package main

import (
	"testing"

	"penstock/consumer"
)

func TestOneProcessTends(t *testing.T) {
	t.Parallel()
	drained, ours, theirs := consumer.ShardStats{Drained: true, Ours: true}, consumer.ShardStats{Ours: true}, consumer.ShardStats{}
	for name, c := range map[string]struct {
		shards []consumer.ShardStats
		want   bool
	}{
		"nothing listed yet":            {nil, false},
		"the first is ours":             {[]consumer.ShardStats{ours, theirs}, true},
		"a later one is ours":           {[]consumer.ShardStats{theirs, ours}, false},
		"drained ones don't count":      {[]consumer.ShardStats{drained, theirs, ours}, false},
		"the first that is not drained": {[]consumer.ShardStats{drained, ours, theirs}, true},
		"all drained":                   {[]consumer.ShardStats{drained}, false},
	} {
		if got := tends(consumer.FleetStats{Shards: c.shards}); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
