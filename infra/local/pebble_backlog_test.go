package local

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestBacklog(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	cfg := testConfig(vfs.NewMem())
	cfg.Shards, cfg.Now, cfg.RetentionBytes = 2, clock.Now, 1
	s := openTest(t, cfg)
	a, b := s.stream.shards[0].id, s.stream.shards[1].id
	var arrived [2][]time.Time
	var sizes [2][]int64
	for i := range 6 {
		for shard := range 2 {
			clock.Advance(time.Second)
			r := recordIn(s, shard, fmt.Sprintf("%0*d", 10*(i+1)+shard, 0))
			mustPut(t, s, r)
			arrived[shard] = append(arrived[shard], clock.Now())
			sizes[shard] = append(sizes[shard], recordSize(&r))
		}
	}
	sum := func(parts ...[]int64) (total int64) {
		for _, part := range parts {
			for _, n := range part {
				total += n
			}
		}
		return total
	}
	check := func(after map[string]string, bytes int64, oldest time.Time) {
		t.Helper()
		got, err := s.stream.Backlog(t.Context(), after)
		if err != nil || got.Bytes != bytes || !got.Oldest.Round(time.Millisecond).Equal(oldest.Round(time.Millisecond)) {
			t.Errorf("after %v: %+v, %v, want %d bytes, the oldest from %s", after, got, err, bytes, oldest)
		}
	}
	check(nil, sum(sizes[0], sizes[1]), arrived[0][0])
	check(map[string]string{a: "4", b: "2"}, sum(sizes[0][4:], sizes[1][2:]), arrived[1][2])
	check(map[string]string{a: "1", b: "6"}, sum(sizes[0][1:]), arrived[0][1])
	check(map[string]string{a: "6", b: "6"}, 0, time.Time{})
	if _, err := s.stream.Backlog(t.Context(), map[string]string{a: "x"}); err == nil {
		t.Error("a malformed position was taken")
	}
	// What is trimmed is no backlog; a sink that asks for it is behind all that is left.
	trimmed, err := s.stream.Trim(t.Context(), map[string]string{a: "5", b: "3"})
	if err != nil || trimmed.Records == 0 || trimmed.HeldBytes == 0 {
		t.Fatalf("trimmed %+v, %v", trimmed, err)
	}
	check(nil, sum(sizes[0][4:], sizes[1][2:]), arrived[1][2])
	again, err := s.stream.Trim(t.Context(), map[string]string{a: "6", b: "3"})
	if err != nil {
		t.Fatal(err)
	}
	want := TrimStats{Records: trimmed.Records + again.Records, Bytes: trimmed.Bytes + again.Bytes, HeldBytes: again.HeldBytes}
	if got := s.stream.Trimmed(); got != want {
		t.Errorf("trimmed %+v since the start, want %+v", got, want)
	}
}
