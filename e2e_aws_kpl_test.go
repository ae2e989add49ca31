//go:build !nolocal

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"penstock/consumer"
	"penstock/infra/aws"
	"penstock/infra/deploy/kpl"
	"penstock/ingest"
	"penstock/schemas"
)

// TestConformKPL: what ingest writes is read by AWS's own implementation of the KPL's format, and what that writes is read by both
// sinks.
func TestConformKPL(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	d := newDeployment(t, 4)
	front := d.ingest()
	want := postKeyed(t, front, 1200)
	for _, size := range []int{200 << 10, 900 << 10, 1_100_000} { // the first goes with others, the second alone, the third by reference
		body := `"` + strings.Repeat("x", size) + `"`
		want[front.post([]byte(body))] = sha256.Sum256([]byte(body))
	}
	d.unpackedByKPL(ctx, want)
	// Only now, so that the sinks have little else to do.
	theirs := d.putByKPL(ctx, 500)
	maps.Copy(want, theirs)
	d.consumer("index")
	d.consumer("lake")
	d.inLake(want)
	for id, sum := range theirs {
		if sha256.Sum256(front.fetch(id)) != sum {
			t.Errorf("%s came back with other bytes", id)
		}
	}
}

// postKeyed posts a batch of events, most of them with one of a few partition keys, and gives their ids and hashes.
func postKeyed(t *testing.T, front *server, count int) map[string][32]byte {
	t.Helper()
	items := make([]map[string]any, count)
	bodies := make([]string, count)
	for i := range items {
		bodies[i] = fmt.Sprintf(`{"n":%d,"text":"é"}`, i)
		items[i] = map[string]any{
			"specversion": "1.0", "id": fmt.Sprint(i), "source": "kpl", "type": "made", "data": json.RawMessage(bodies[i]),
		}
		if i%3 > 0 {
			items[i]["partitionkey"] = fmt.Sprint("key ü ", i%7)
		}
	}
	batch, err := json.Marshal(items)
	if err != nil {
		t.Fatal(err)
	}
	answer := front.must(http.StatusAccepted, "POST", "/v1/events", batch, "Content-Type", "application/cloudevents-batch+json")
	var acks struct{ Items []struct{ ID string } }
	decode(t, answer.body, &acks)
	want := map[string][32]byte{}
	for i, ack := range acks.Items {
		want[ack.ID] = sha256.Sum256([]byte(bodies[i]))
	}
	return want
}

// unpackedByKPL fails unless aws_kinesis_agg finds exactly these events in the stream, aggregated, and none that KCL would drop since
// its hash key lies outside of the shard.
func (d *deployment) unpackedByKPL(ctx context.Context, want map[string][32]byte) {
	t := d.t
	t.Helper()
	open, err := aws.NewStream(d.clients.Kinesis, d.name).Shards(ctx)
	if err != nil {
		t.Fatal(err)
	}
	seen, most, used := map[string]int{}, 0, 0
	records := d.records(t)
	for _, shard := range open {
		if len(records[shard.ID]) > 0 {
			used++
		}
		unpacked, err := kpl.Deaggregate(ctx, dataOf(records[shard.ID]))
		if err != nil {
			t.Fatal(err)
		}
		for _, users := range unpacked {
			most = max(most, len(users))
			for _, user := range users {
				e, err := schemas.DecodeEvent(user.Data)
				if err != nil || !user.Aggregated || !inRange(user.ExplicitHashKey, shard) {
					t.Fatalf("shard %s: %.200s: aggregated %v, explicit hash key %q, %v", shard.ID, user.Data, user.Aggregated, user.ExplicitHashKey, err)
				}
				seen[e.ID]++
				if e.SHA256 != want[e.ID] || e.DataRef == "" && sha256.Sum256(e.Data) != want[e.ID] {
					t.Errorf("%s came with other bytes", e.ID)
				}
			}
		}
	}
	for id := range want {
		if seen[id] != 1 {
			t.Errorf("%s was found %d times", id, seen[id])
		}
	}
	if most < 20 || most > schemas.MaxAggregateEvents || used < 2 {
		t.Errorf("the fullest record has %d events, on %d shards", most, used)
	}
}

func dataOf(records []consumer.Record) [][]byte {
	data := make([][]byte, len(records))
	for i, r := range records {
		data[i] = r.Data
	}
	return data
}

// inRange reports whether a hash key in decimal is one of the shard's.
func inRange(key string, shard ingest.Shard) bool {
	n, ok := new(big.Int).SetString(key, 10)
	if !ok || n.BitLen() > 8*len(shard.First) {
		return false
	}
	var k schemas.HashKey
	n.FillBytes(k[:])
	return shard.First.Compare(k) <= 0 && k.Compare(shard.Last) <= 0
}

// putByKPL puts events that aws_kinesis_agg has aggregated, with keys of every kind: partition keys that are the same and
// different, with and without an explicit hash key, also those of other shards than the record's, on which KCL drops a record.
func (d *deployment) putByKPL(ctx context.Context, count int) map[string][32]byte {
	t := d.t
	t.Helper()
	want := map[string][32]byte{}
	batches := make([][]kpl.UserRecord, 2) // without any explicit hash key, and with some
	for i := range count {
		body := fmt.Sprintf(`{"kpl":%d,"pad":%q}`, i, strings.Repeat("z", i%300))
		id, encoded := made(t, body)
		want[id] = sha256.Sum256([]byte(body))
		user := kpl.UserRecord{PartitionKey: fmt.Sprint("pk ", i%11), Data: encoded}
		if i%2 > 0 && i%5 > 0 {
			user.ExplicitHashKey = new(big.Int).Lsh(big.NewInt(int64(1+i%250)), 120).String()
		}
		batches[i%2] = append(batches[i%2], user)
	}
	for _, users := range batches {
		packed, err := kpl.Aggregate(ctx, users)
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range packed {
			in := &kinesis.PutRecordInput{StreamName: &d.name, Data: record.Data, PartitionKey: &record.PartitionKey}
			if record.ExplicitHashKey != "" {
				in.ExplicitHashKey = sdk.String(record.ExplicitHashKey)
			}
			d.must(d.clients.Kinesis.PutRecord(ctx, in))
			if !bytes.HasPrefix(record.Data, []byte{0xf3, 0x89, 0x9a, 0xc2}) {
				t.Errorf("aws_kinesis_agg made no aggregate: %.20x", record.Data)
			}
		}
		if len(packed) >= len(users)/20 {
			t.Errorf("aws_kinesis_agg made %d records of %d", len(packed), len(users))
		}
	}
	return want
}
