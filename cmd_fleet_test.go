package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"penstock/consumer"
	"penstock/schemas"
)

// aRoster has a shard in every state.
func aRoster() []consumer.SinkRoster {
	lease := func(shard, owner string, age time.Duration, r consumer.Report) consumer.Lease {
		return consumer.Lease{Sink: "lake", Shard: shard, Owner: owner, Renewal: 1, Age: age, Report: r}
	}
	at := consumer.Checkpoint{Position: schemas.Position{Sequence: "4711", Sub: 3}, AsOf: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	end := at
	end.End = true
	return []consumer.SinkRoster{
		{Sink: "index", Workers: []string{"host-1"}, Shards: []consumer.ShardRoster{{
			Shard: consumer.Shard{ID: "shardId-0"}, State: consumer.ShardOwned,
			Lease: lease("shardId-0", "host-1", time.Second, consumer.Report{At: at, LagKnown: true, Lag: 1400 * time.Millisecond}),
		}}},
		{Sink: "lake", Shards: []consumer.ShardRoster{
			{Shard: consumer.Shard{ID: "shardId-0"}, State: consumer.ShardUnowned, Lease: lease("shardId-0", "host-2\x1b[31m", time.Hour,
				consumer.Report{At: at, LagKnown: true, Lag: time.Hour, Error: "read after \"4711\": no connection", ErrorAge: 90 * time.Second, Failing: true})},
			{Shard: consumer.Shard{ID: "shardId-1"}, State: consumer.ShardUnowned},
			{Shard: consumer.Shard{ID: "shardId-2", Closed: true}, State: consumer.ShardDrained,
				Lease: lease("shardId-2", "", time.Minute, consumer.Report{At: end, LagKnown: true})},
			{Shard: consumer.Shard{ID: "shardId-3"}, State: consumer.ShardChanging,
				Lease: lease("shardId-3", "", time.Second, consumer.Report{Error: "throttled", ErrorAge: time.Minute})},
		}},
	}
}

func TestShowFleet(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	if err := showFleet(&output{stdout: &text}, "orders", aRoster()); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(strings.ReplaceAll(text.String(), "│", "")), " ")
	contains(t, got,
		"index of stream orders: 1 shard, 1 worker, 0 unowned", "lake of stream orders: 4 shards, 0 workers, 2 unowned",
		"shardId-0 owned host-1 1s ago 1s 4711/3", "1h0m0s ago 1h0m0s 4711/3", "shardId-1 UNOWNED never not known",
		"shardId-2 drained 1m0s ago 0s 4711/3", "shardId-3 changing 1s ago not known",
		`shardId-0 waits to be tried again after an error 1m30s ago: read after "4711": no connection`,
		"shardId-3 went on after an error 1m0s ago: throttled",
	)
	if strings.Contains(got, "\x1b") {
		t.Errorf("a worker's name steers the terminal: %q", got)
	}
	err := unownedShards(aRoster())
	if err == nil {
		t.Fatal("unowned shards are no error")
	}
	contains(t, err.Error(), "UNOWNED", "2 of the 4 shards", "shardId-0", "start `penstock consumer --sink lake`")
	alive := aRoster()
	alive[1].Workers = []string{"host-3"}
	contains(t, unownedShards(alive).Error(), "logs of host-3")
	if err := unownedShards(aRoster()[:1]); err != nil {
		t.Errorf("all owned: %v", err)
	}
}

func TestFleetJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(fleetJSON("orders", aRoster()))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(text),
		`{"stream":"orders","sinks":[{"sink":"index","workers":["host-1"],"unowned":0,`,
		`{"shard":"shardId-0","closed":false,"state":"owned","worker":"host-1","renewedSecondsAgo":1,"lagSeconds":1.4,"checkpoint":"4711/3",`+
			`"asOf":"2026-01-02T03:04:05Z","failing":false}`,
		`{"sink":"lake","workers":[],"unowned":2,`,
		`{"shard":"shardId-1","closed":false,"state":"unowned","renewedSecondsAgo":null,"lagSeconds":null,"failing":false}`,
		`"failing":true,"lastError":"read after \"4711\": no connection","lastErrorSecondsAgo":90}`,
		`{"shard":"shardId-2","closed":true,"state":"drained",`,
	)
}

// What is wrong with the command line is said before anybody is asked.
func TestFleetFlags(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"must be one of": {"fleet", "--sink", "archive"},
		"--state-table":  {"fleet", "--state-table", ""},
	} {
		var stderr bytes.Buffer
		if status := run(args, nil, &stderr, &stderr); status == 0 {
			t.Errorf("%v: status 0", args)
		}
		contains(t, stderr.String(), want)
	}
}
