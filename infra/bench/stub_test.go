package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"testing"

	"penstock/schemas"
)

// What the stub counts is what was aggregated, whatever the sizes, and of what is no aggregate it says so.
func TestStubCountsEvents(t *testing.T) {
	t.Parallel()
	type record struct {
		Data []byte
	}
	var put struct {
		StreamName string
		Records    []record
	}
	events := 0
	for n := range 40 {
		group := make([][]byte, 1+n)
		for i := range group {
			group[i] = bytes.Repeat([]byte{'e'}, 1+n*i*37%20_000)
		}
		events += len(group)
		put.Records = append(put.Records, record{schemas.AppendAggregate(nil, "p", schemas.MaxHashKey, group)})
	}
	body, err := json.Marshal(put)
	if err != nil {
		t.Fatal(err)
	}
	if gotRecords, gotEvents, err := countRecords(body); err != nil || gotRecords != 40 || gotEvents != events {
		t.Errorf("%d records, %d events, %v; want 40, %d", gotRecords, gotEvents, err, events)
	}
	whole := put.Records[3].Data
	for name, data := range map[string][]byte{"no magic": []byte("plain"), "cut": whole[:len(whole)-1], "empty": nil} {
		text := base64.StdEncoding.EncodeToString(data)
		if n, err := countEvents([]byte(text)); err == nil {
			t.Errorf("%s: %d events, no error", name, n)
		}
	}
	if _, _, err := countRecords([]byte(`{"Records":[{"Data":"84ma`)); err == nil {
		t.Error("a body that is cut: no error")
	}
}
