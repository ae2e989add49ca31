package consumer_test

import (
	"testing"
	"time"

	"penstock/consumer"
	"penstock/consumer/consumertest"
)

// The fakes that the tests of this package stand on keep the ports' contracts, by the suites that hold the adapters to them.
const fakes = "this package's fakes"

func TestFakeLakeConforms(t *testing.T) {
	t.Parallel()
	consumertest.LakeSuite(t, fakes, func(*testing.T) consumertest.LakeEnv {
		l := consumer.NewMemLake()
		return consumertest.LakeEnv{Lake: l, Peer: l, Bodies: func(*testing.T) map[string][]string { return l.Bodies() }}
	})
}

func TestFakeSourceConforms(t *testing.T) {
	t.Parallel()
	consumertest.SourceSuite(t, fakes, func(*testing.T) consumertest.SourceEnv {
		s := consumer.NewMemStream("shardId-000000000000", "shardId-000000000001")
		return consumertest.SourceEnv{
			Source: s, Now: time.Now,
			Put:   func(_ *testing.T, shard string, data []byte) { s.Put(shard, data) },
			Trim:  func(_ *testing.T, shard, sequence string) { s.TrimBefore(shard, sequence) },
			Split: func(_ *testing.T, shard string) { s.Split(shard, shard+" left", shard+" right") },
		}
	})
}

func TestFakeHistoryConforms(t *testing.T) {
	t.Parallel()
	consumertest.HistorySuite(t, fakes, func(*testing.T) consumertest.HistoryEnv {
		s := consumer.NewMemStream("shardId-000000000000", "shardId-000000000001")
		return consumertest.HistoryEnv{
			History: s, Source: s,
			Put:   func(_ *testing.T, shard string, data []byte) { s.Put(shard, data) },
			Split: func(_ *testing.T, shard string) { s.Split(shard, shard+" left", shard+" right") },
		}
	})
}

func TestFakeIndexConforms(t *testing.T) {
	t.Parallel()
	consumertest.IndexSuite(t, fakes, func(*testing.T) consumer.Index { return consumer.NewMemIndex() })
}

func TestFakeLeasesConform(t *testing.T) {
	t.Parallel()
	consumertest.LeasesSuite(t, fakes, func(*testing.T) consumer.Leases { return consumer.NewMemLeases() })
}

func TestFakeDeadLettersConform(t *testing.T) {
	t.Parallel()
	consumertest.DeadLettersSuite(t, fakes, func(*testing.T) consumer.DeadLetters { return &consumer.MemLetters{} })
}

func TestFakeBodiesConform(t *testing.T) {
	t.Parallel()
	consumertest.BodiesSuite(t, fakes, func(*testing.T) consumertest.BodiesEnv {
		b := consumer.NewMemBodies()
		return consumertest.BodiesEnv{Bodies: b, Put: func(_ *testing.T, id string, _ time.Time, body []byte) string {
			return b.Put(id, body)
		}}
	})
}
