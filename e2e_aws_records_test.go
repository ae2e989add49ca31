//go:build !nolocal

package main

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"maps"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"penstock/consumer"
	"penstock/infra/aws"
	"penstock/infra/aws/faultproxy"
	"penstock/schemas"
)

// put puts a record on the shard of the hash key, past all of Penstock, and gives its place.
func (d *deployment) put(hashKey string, data []byte) (shard, sequence string) {
	d.t.Helper()
	out, err := d.clients.Kinesis.PutRecord(d.t.Context(), &kinesis.PutRecordInput{
		StreamName: &d.name, Data: data, PartitionKey: sdk.String("p"), ExplicitHashKey: &hashKey,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return *out.ShardId, *out.SequenceNumber
}

// records are those of the stream, by shard.
func (d *deployment) records(t *testing.T) map[string][]consumer.Record {
	t.Helper()
	source := aws.NewSource(d.clients.Kinesis, d.name)
	shards, err := source.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	records := map[string][]consumer.Record{}
	for _, shard := range shards {
		for after, tip := "", false; !tip; {
			page, err := source.Read(t.Context(), shard.ID, after, 8<<20)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(page.Records); n > 0 {
				after = page.Records[n-1].Sequence
				records[shard.ID] = append(records[shard.ID], page.Records...)
			}
			tip = !page.AsOf.IsZero()
		}
	}
	return records
}

// made is an event as ingest makes it, encoded.
func made(t *testing.T, body string) (id string, encoded []byte) {
	t.Helper()
	e := madeEvent(t, body)
	return e.ID, schemas.AppendEvent(nil, &e)
}

func madeEvent(t *testing.T, body string) schemas.Event {
	t.Helper()
	now := time.Now()
	e, err := schemas.NewEvent(schemas.NewID(now), now, &schemas.Attributes{Type: "made"}, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// aggregate is a record of the events, as ingest packs them.
func aggregate(events ...[]byte) []byte {
	return schemas.AppendAggregate(nil, "p", schemas.HashKey{}, events)
}

// awaitLog waits for a minute until the server's log has all the parts.
func (s *server) awaitLog(parts ...string) {
	s.t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	late := time.After(time.Minute)
	for _, part := range parts {
		for !strings.Contains(s.log(), part) {
			select {
			case <-again.C:
			case <-late:
				s.t.Fatalf("no %q in the log after a minute:\n%s", part, s.log())
			}
		}
	}
}

// badRecord is what a sink can't take of a record.
type badRecord struct {
	sub    int
	raw    []byte
	reason string
}

// TestConformBadRecords: records that are no events, or not whole, and an event whose body is gone. Each is in the dead letters of the
// sink that can't take it, with its bytes, its place and the reason; what stands before, between and behind them is in both
// sinks.
func TestConformBadRecords(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, 1)
	front := d.ingest()
	d.consumer("index")
	d.consumer("lake")
	want := map[string][32]byte{}
	good := func(body string) []byte {
		id, encoded := made(t, body)
		want[id] = sha256.Sum256([]byte(body))
		return encoded
	}
	whole := aggregate(good(`{"n":1}`))
	_, other := made(t, `{"never":"seen"}`)
	wrong := aggregate(other)
	wrong[len(wrong)-1] ^= 1
	lost := madeEvent(t, `"`+strings.Repeat("x", schemas.MaxInlineBody)+`"`)
	lost.DataRef = "s3://" + d.name + "/bodies/dt=2026-11-28/" + lost.ID
	pointer := schemas.AppendEvent(nil, &lost)
	half, outside := aggregate(other, other)[:len(other)], outsideOfTables(t, other)

	type put struct {
		record     []byte
		both, lake []badRecord // what neither sink can take, and what the lake alone can't
	}
	letters := map[string]map[string]badRecord{"index": {}, "lake": {}}
	for _, p := range []put{
		{record: whole},
		{record: []byte("this is no event"), both: []badRecord{{0, []byte("this is no event"), "decode the event"}}},
		{record: half, both: []badRecord{{0, half, "checksum of the aggregate is wrong"}}},
		{record: wrong, both: []badRecord{{0, wrong, "checksum of the aggregate is wrong"}}},
		{record: outside, both: []badRecord{{0, outside, "refers to a key that the aggregate does not have"}}},
		{
			record: aggregate(good(`{"n":2}`), []byte(`{"no":"event"}`), pointer, good(`{"n":3}`)),
			both:   []badRecord{{1, []byte(`{"no":"event"}`), "decode the event"}},
			lake:   []badRecord{{2, pointer, "not found"}},
		},
		{record: good(`{"n":4}`)},
	} {
		shard, sequence := d.put("0", p.record)
		for _, b := range append(p.both, p.lake...) {
			letters["lake"][shard+"/"+schemas.Position{Sequence: sequence, Sub: b.sub}.String()] = b
		}
		for _, b := range p.both {
			letters["index"][shard+"/"+schemas.Position{Sequence: sequence, Sub: b.sub}.String()] = b
		}
	}
	for id, sum := range want {
		if sha256.Sum256(front.fetch(id)) != sum {
			t.Errorf("%s came back with other bytes", id)
		}
	}
	d.inLake(want)
	for sink, expected := range letters {
		d.holdsLetters(front, sink, expected)
	}
}

// outsideOfTables is a whole aggregate whose sub-record refers to a partition key that is not in its table.
func outsideOfTables(t *testing.T, event []byte) []byte {
	t.Helper()
	record := aggregate(event)
	message := record[4 : len(record)-md5.Size]
	indices := bytes.Index(message, []byte{0x08, 0x00, 0x10, 0x00})
	if indices < 0 {
		t.Fatal("no sub-record")
	}
	message[indices+1] = 7
	sum := md5.Sum(message)
	return append(record[:len(record)-md5.Size], sum[:]...)
}

// holdsLetters holds a sink's dead letters against those that it should have, as they are stored, and as the command line tells
// them.
func (d *deployment) holdsLetters(front *server, sink string, want map[string]badRecord) {
	t := d.t
	t.Helper()
	stored := aws.NewDeadLetters(d.clients, aws.Tables{Events: d.name + "-events", State: d.name + "-state"}, d.name)
	found, err := stored.List(t.Context(), sink, "", schemas.Position{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	left := maps.Clone(want)
	list, status := front.command("dlq", "list", sink)
	for _, l := range found {
		place := l.Shard + "/" + l.Position.String()
		expected, ok := left[place]
		delete(left, place)
		letter, err := stored.Get(t.Context(), sink, l.Shard, l.Position)
		if err != nil || !ok || !bytes.Equal(letter.Raw, expected.raw) || !strings.Contains(letter.Reason, expected.reason) || letter.Arrived.IsZero() {
			t.Errorf("%s: letter at %s of %s: %q, %.100q, %v; want %+.200v", sink, place, letter.Arrived, letter.Reason, letter.Raw, err, expected)
		}
		if raw, status := front.command("dlq", "show", sink, place, "--raw"); status != 0 || raw != string(expected.raw) || !strings.Contains(list, place) {
			t.Errorf("%s: dlq show %s: status %d, %.100q; dlq list:\n%s", sink, place, status, raw, list)
		}
	}
	if len(left) > 0 || status != 0 {
		t.Errorf("%s: no letters of %v; dlq list: status %d\n%s", sink, left, status, list)
	}
}

// TestConformTrimmed: where the stream has dropped records that a sink does not have, the sink stops that shard loudly, and goes on
// with the others.
func TestConformTrimmed(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, 2)
	front := d.ingest()
	const first, second = "0", "340282366920938463463374607431768211455"
	want := map[string][32]byte{}
	put := func(hashKey, body string) (shard, sequence, id string) {
		id, encoded := made(t, body)
		want[id] = sha256.Sum256([]byte(body))
		shard, sequence = d.put(hashKey, encoded)
		return shard, sequence, id
	}
	taken := func() {
		for id := range want {
			front.fetch(id)
		}
		d.inLake(want)
	}
	index, lake := d.consumer("index"), d.consumer("lake")
	shard, _, _ := put(first, `{"taken":true}`)
	taken()
	index.stop()
	lake.stop()
	_, _, gone := put(first, `{"gone":true}`)
	_, kept, behind := put(first, `{"behind":"what is gone"}`)
	delete(want, gone)
	delete(want, behind)
	put(second, `{"elsewhere":true}`)
	horizon := faultproxy.NewHorizon()
	if err := horizon.Trim(d.name, shard, kept); err != nil {
		t.Fatal(err)
	}
	_, trimmed := faulty(t, faultproxy.Kinesis, []faultproxy.Law{horizon.Law(), faultproxy.Ahead(25 * time.Hour)})
	for _, s := range []*server{d.consumer("index", trimmed), d.consumer("lake", trimmed)} {
		s.awaitLog("shard stopped: the stream trimmed events that this sink does not have", "shard "+shard+" goes on at "+kept)
	}
	taken() // and nothing else
	if a, err := front.request("GET", "/v1/events/"+behind, nil); err != nil || a.status != 404 {
		t.Errorf("the event behind those that are gone: %d, %v", a.status, err)
	}
}
