package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"penstock/consumer"
	"penstock/infra/aws"
	"penstock/ingest/httpapi"
)

const (
	// checkTimeout bounds the look at everything configured with which a process begins.
	checkTimeout = 10 * time.Second
	// awsLeaseLife is for how long a dead process's shards stay with it. Leases are renewed and balanced three times as often.
	awsLeaseLife = 6 * time.Second
	// watermarkLife is for how long a front end goes by the index's watermark that it found last, instead of listing shards and
	// reading their checkpoints for every GET of an id that is not there yet.
	watermarkLife = time.Second
)

// awsParts are the adapters of a deployment.
type awsParts struct {
	clients aws.Clients
	tables  aws.Tables
	stream  *aws.Stream
	source  *aws.Source
	bodies  *aws.Bodies
	index   *aws.Index
	letters *aws.DeadLetters
	// watermark tells how far the index is, from what is stored.
	watermark *consumer.RecentIndex
}

func connectAWS(ctx context.Context, c *awsFlags) (*awsParts, error) {
	clients, err := aws.Connect(ctx)
	if err != nil {
		return nil, err
	}
	p := &awsParts{clients: clients, tables: aws.Tables{Events: c.EventsTable, State: c.StateTable}}
	p.stream, p.source = aws.NewStream(clients.Kinesis, c.Stream), aws.NewSource(clients.Kinesis, c.Stream)
	p.bodies, p.letters = aws.NewBodies(clients, c.Bucket), aws.NewDeadLetters(clients, p.tables, c.Bucket)
	if p.index, err = aws.NewIndex(clients, p.tables, c.Bucket); err != nil {
		return nil, err
	}
	p.watermark = consumer.NewRecentIndex(consumer.NewWatermarks(p.source, p.index, nil).Index, watermarkLife)
	return p, nil
}

// check proves that what this process needs is there, and then the tables, which every process needs: those it makes where they are
// missing, and not in a region where nothing else is.
func (p *awsParts) check(ctx context.Context, what ...func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	group, groupCtx := errgroup.WithContext(ctx)
	for _, one := range what {
		group.Go(func() error { return one(groupCtx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return p.tables.Ensure(ctx, p.clients.DynamoDB)
}

// dependencies are proven by /readyz.
func (p *awsParts) dependencies() []httpapi.Dependency {
	return []httpapi.Dependency{
		{Name: "stream", Ready: func(ctx context.Context) error { _, err := p.source.Shards(ctx); return err }},
		{Name: "tables", Ready: func(ctx context.Context) error { return p.tables.Check(ctx, p.clients.DynamoDB) }},
	}
}
