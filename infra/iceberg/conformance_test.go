package iceberg

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer/consumertest"
)

func TestLakeConforms(t *testing.T) {
	t.Parallel()
	consumertest.LakeSuite(t, "iceberg in memory", func(t *testing.T) consumertest.LakeEnv {
		fs, p := vfs.NewMem(), &memoryPointer{}
		l := openLake(t, fs, "/data/lake", p)
		return consumertest.LakeEnv{
			Lake: l, Peer: openLake(t, fs, "/data/lake", p),
			Bodies: func(t *testing.T) map[string][]string {
				t.Helper()
				bodies := make(map[string][]string)
				for _, r := range scan(t, l, "id", "data") {
					bodies[r["id"]] = append(bodies[r["id"]], r["data"])
				}
				return bodies
			},
		}
	})
}
