package aws

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"penstock/consumer"
)

// Leases are items of the state table, those of a sink under one partition key. How old they are goes by DynamoDB's clock, at
// both ends.
type Leases struct {
	state table
	now   func(context.Context) (time.Time, error)
}

var _ consumer.Leases = (*Leases)(nil)

// NewLeases keeps them in the state table.
func NewLeases(c Clients, t Tables) *Leases {
	state := table{c.DynamoDB, t.State}
	return &Leases{state: state, now: (&clock{table: state}).now}
}

func leasesOf(sink string) string { return "lease#" + sink }

// List implements consumer.Leases; the leases are sorted by shard.
func (l *Leases) List(ctx context.Context, sink string) ([]consumer.Lease, error) {
	var leases []consumer.Lease
	now, err := l.now(ctx)
	if err == nil {
		err = l.state.query(ctx, leasesOf(sink), "", func(it item) (bool, error) {
			lease, err := decodeLease(sink, it, now)
			leases = append(leases, lease)
			return true, err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("listing leases of %s: %w", sink, advised(err, l.state.client.Options().Region, "dynamodb:Query"))
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
	won := false
	it, err := l.encode(ctx, next)
	if err == nil {
		_, won, err = l.state.putOwn(ctx, it, condition, values)
	}
	if err == nil && !won {
		err = consumer.ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("lease of %s on %s: %w", next.Sink, next.Shard, err)
	}
	return nil
}

// encode gives the lease's item, as put now.
func (l *Leases) encode(ctx context.Context, lease consumer.Lease) (item, error) {
	now, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	it := stateKey(leasesOf(lease.Sink), lease.Shard)
	it["n"], it["w"] = renewal(lease.Renewal), timeValue(now)
	if lease.Owner != "" {
		it["o"] = stringValue(lease.Owner)
	}
	r := lease.Report
	if r.At != (consumer.Checkpoint{}) {
		if err := encodeProgress(it, r.At); err != nil {
			return nil, err
		}
	}
	if r.LagKnown {
		it["l"] = numberValue(int64(r.Lag))
	}
	if r.Error != "" {
		it["m"], it["y"] = stringValue(r.Error), numberValue(int64(r.ErrorAge))
	}
	if r.Failing {
		it["f"] = numberValue(1)
	}
	return it, nil
}

func renewal(n uint64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatUint(n, 10)}
}

// decodeLease gives the lease of an item, as old as it is now. One without a time was put by a program older than this one: it
// counts as decades old.
func decodeLease(sink string, it item, now time.Time) (consumer.Lease, error) {
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
	if it["o"] != nil {
		if lease.Owner, err = it.text("o"); err != nil {
			return consumer.Lease{}, fmt.Errorf("lease on %s: %w", shard, err)
		}
	}
	put, err := it.optional("w")
	if err == nil {
		lease.Age = max(0, now.Sub(time.Unix(0, put)))
		lease.Report, err = decodeReport(it)
	}
	if err != nil {
		return consumer.Lease{}, fmt.Errorf("lease on %s: %w", shard, err)
	}
	return lease, nil
}

func decodeReport(it item) (r consumer.Report, err error) {
	if it["p"] != nil {
		if r.At, err = decodeProgress(it); err != nil {
			return r, err
		}
	}
	if it["m"] != nil {
		if r.Error, err = it.text("m"); err != nil {
			return r, err
		}
	}
	lag, errLag := it.optional("l")
	age, errAge := it.optional("y")
	r.Lag, r.LagKnown, r.ErrorAge, r.Failing = time.Duration(lag), it["l"] != nil, time.Duration(age), it["f"] != nil
	return r, errors.Join(errLag, errAge)
}
