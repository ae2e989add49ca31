package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"penstock/infra/aws"
)

// leastRetention is for how long a stream should keep records: so long a sink may stand still without losing any.
const leastRetention = 7 * 24 * time.Hour

// checkCmd is `penstock check`.
type checkCmd struct {
	awsFlags
	queryFlags
	checkScope
	JSON bool `name:"json" help:"A JSON object per line."`
}

// Help implements kong.HelpProvider.
func (*checkCmd) Help() string {
	return `Uses everything that is configured as the processes do, with the credentials it is run with, and says what of it works. What it
writes into tables and bucket are probes, which it removes; into the stream it writes nothing, and the lake's table it gives what
that has. The exit status is 0 only if nothing failed.

Examples:

    penstock check --bucket my-bucket
    penstock check --bucket my-bucket --json`
}

// proofTimeout is long enough for a statement that has to wait until Athena has room for it.
const proofTimeout = time.Minute

// proof is of one thing that is configured.
type proof struct {
	thing string
	// prove tells what was proven, and what is to be heeded nevertheless.
	prove func(ctx context.Context) (proven, warning string, err error)
}

// Outcomes of a proof.
const (
	checkOK      = "ok"
	checkWarning = "warning"
	checkFailed  = "failed"
)

// finding is the outcome of a proof.
type finding struct {
	Thing  string `json:"thing"`
	Status string `json:"status"`
	Detail string `json:"detail"`
}

// Run proves everything at once, so that all that is wrong is seen at once, each for proofTimeout at most.
func (c *checkCmd) Run(ctx context.Context, out *output) error {
	if err := first([]error{c.awsFlags.validate(), c.queryFlags.validate(c.Bucket)}); err != nil {
		return err
	}
	p, err := connectAWS(ctx, &c.awsFlags)
	if err != nil {
		return err
	}
	proofs := c.proofs(p)
	return report(out, c.JSON, proofs, findings(ctx, proofs))
}

// proofs are those of what the processes use that the check is for.
func (c *checkCmd) proofs(p *awsParts) []proof {
	var proofs []proof
	if c.isFor("ingest") {
		proofs = append(proofs, proof{"stream " + c.Stream + ", writing", p.proveWriting})
	}
	if c.isFor("index") || c.isFor("lake") {
		proofs = append(proofs, proof{"stream " + c.Stream + ", reading", p.proveReading})
	}
	if c.isFor("ingest") || c.isFor("index") {
		proofs = append(proofs, proof{"table " + c.EventsTable, func(ctx context.Context) (string, string, error) {
			if !c.isFor("index") {
				return "has the right keys; can be read", "", p.tables.ProveEvents(ctx, p.clients.DynamoDB, false)
			}
			return provenTable, "", p.tables.ProveEvents(ctx, p.clients.DynamoDB, true)
		}})
	}
	proofs = append(proofs,
		proof{"table " + c.StateTable, func(ctx context.Context) (string, string, error) {
			return provenTable, "", p.tables.ProveState(ctx, p.clients.DynamoDB)
		}},
		proof{"bucket " + c.Bucket, func(ctx context.Context) (string, string, error) {
			return "a probe was written, read, listed and deleted", "", aws.ProveBucket(ctx, p.clients, c.Bucket)
		}})
	if c.isFor("lake") {
		proofs = append(proofs, c.lakeProof(p, c.Bucket, c.Database))
	}
	if c.isFor("query") {
		proofs = append(proofs, c.queryProofs(p)...)
	}
	return proofs
}

const provenTable = "has the right keys; a probe was written, read and removed"

func (p *awsParts) proveWriting(ctx context.Context) (proven, warning string, err error) {
	state, err := p.stream.Check(ctx)
	proven = fmt.Sprintf("%s, %s; can be listed", state.Status, plural(int64(state.OpenShards), "open shard"))
	if !state.WriteProven {
		return proven, "writing is not proven: the server knows no dry run, and a probe would reach the sinks", err
	}
	return proven + " and, by a dry run, written", "", err
}

func (p *awsParts) proveReading(ctx context.Context) (proven, warning string, err error) {
	state, err := p.source.Check(ctx)
	if state.Retention < leastRetention {
		warning = fmt.Sprintf("a sink that stands still for longer than these %d h loses events: have the stream keep them for %d h",
			int(state.Retention.Hours()), int(leastRetention.Hours()))
	}
	return fmt.Sprintf("%s, keeps records for %d h; can be listed and read", state.Status, int(state.Retention.Hours())), warning, err
}

// findings are those of the proofs, each as soon as it and all before it are there.
func findings(ctx context.Context, proofs []proof) <-chan finding {
	made := make([]chan finding, len(proofs))
	for i, p := range proofs {
		made[i] = make(chan finding, 1)
		go func() {
			ctx, cancel := context.WithTimeout(ctx, proofTimeout)
			defer cancel()
			made[i] <- p.find(ctx)
		}()
	}
	all := make(chan finding)
	go func() {
		defer close(all)
		for _, one := range made {
			all <- <-one
		}
	}()
	return all
}

func (p proof) find(ctx context.Context) finding {
	switch proven, warning, err := p.prove(ctx); {
	case err != nil:
		return finding{p.thing, checkFailed, strings.TrimLeft(strings.TrimPrefix(err.Error(), p.thing), ": ")}
	case warning != "":
		return finding{p.thing, checkWarning, proven + "; " + warning}
	default:
		return finding{p.thing, checkOK, proven}
	}
}

// report writes a line for each finding, and fails if one of them is a failure.
func report(out *output, asJSON bool, proofs []proof, all <-chan finding) (err error) {
	width, failed := 0, false
	for _, p := range proofs {
		width = max(width, len(p.thing))
	}
	lines := json.NewEncoder(out.stdout)
	for f := range all {
		failed = failed || f.Status == checkFailed
		if err != nil {
			continue // standard output is gone; the proofs are waited for, since they remove their probes
		}
		if asJSON {
			err = lines.Encode(f)
		} else {
			_, err = fmt.Fprintf(out.stdout, "%-7s  %-*s  %s\n", f.Status, width, f.Thing, f.Detail)
		}
	}
	if err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	if failed {
		return errReported
	}
	return nil
}
