package aws

import (
	"context"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"penstock/consumer"
)

// Leases are items of the state table, those of a sink under one partition key.
type Leases struct{ state table }

var _ consumer.Leases = (*Leases)(nil)

// NewLeases keeps them in the state table.
func NewLeases(c Clients, t Tables) *Leases { return &Leases{table{c.DynamoDB, t.State}} }

func leasesOf(sink string) string { return "lease#" + sink }

// List implements consumer.Leases; the leases are sorted by shard.
func (l *Leases) List(ctx context.Context, sink string) ([]consumer.Lease, error) {
	var leases []consumer.Lease
	err := l.state.query(ctx, leasesOf(sink), "", func(it item) (bool, error) {
		lease, err := decodeLease(sink, it)
		leases = append(leases, lease)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("listing leases of %s: %w", sink, err)
	}
	return leases, nil
}

// Put implements consumer.Leases. When its answer is lost it reads the lease back, and errors only if that does not tell.
func (l *Leases) Put(ctx context.Context, prev *consumer.Lease, next consumer.Lease) error {
	condition, values := "attribute_not_exists(pk)", item(nil)
	if prev != nil {
		if prev.Sink != next.Sink || prev.Shard != next.Shard {
			return fmt.Errorf("lease of %s on %s: %w", next.Sink, next.Shard, consumer.ErrLeaseLost)
		}
		condition, values = "n = :n AND attribute_not_exists(o)", item{":n": renewal(prev.Renewal)}
		if prev.Owner != "" {
			condition, values[":o"] = "n = :n AND o = :o", stringValue(prev.Owner)
		}
	}
	it := stateKey(leasesOf(next.Sink), next.Shard)
	it["n"] = renewal(next.Renewal)
	if next.Owner != "" {
		it["o"] = stringValue(next.Owner)
	}
	_, won, err := l.state.putOwn(ctx, it, condition, values)
	if err == nil && !won {
		err = consumer.ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("lease of %s on %s: %w", next.Sink, next.Shard, err)
	}
	return nil
}

func renewal(n uint64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatUint(n, 10)}
}

func decodeLease(sink string, it item) (consumer.Lease, error) {
	shard, err := it.text("sk")
	if err != nil {
		return consumer.Lease{}, err
	}
	n, ok := it["n"].(*types.AttributeValueMemberN)
	if !ok {
		return consumer.Lease{}, fmt.Errorf("lease on %s: attribute n: %w", shard, errCorrupt)
	}
	lease := consumer.Lease{Sink: sink, Shard: shard}
	if lease.Renewal, err = strconv.ParseUint(n.Value, 10, 64); err != nil {
		return consumer.Lease{}, fmt.Errorf("lease on %s: attribute n: %w: %w", shard, errCorrupt, err)
	}
	if it["o"] == nil {
		return lease, nil
	}
	if lease.Owner, err = it.text("o"); err != nil {
		return consumer.Lease{}, fmt.Errorf("lease on %s: %w", shard, err)
	}
	return lease, nil
}
