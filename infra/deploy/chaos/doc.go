// Command chaos runs a whole deployment of Penstock on the peers of infra/deploy/stack, breaks it for a while, and then holds the
// index and the lake against what clients were told.
//
//	bin/stack run --shards 4 -- go run ./infra/deploy/chaos -penstock bin/penstock-aws -duration 1m
//
// Two front ends, two consumers of each sink and a load of small documents run while, by a schedule that follows from the seed,
// processes are killed (SIGKILL), frozen (SIGSTOP) and stopped (SIGTERM) and started again, shards are split and merged, and the
// fault proxies (infra/aws/faultproxy) between Penstock and every peer throttle, cut, lose answers and forward late. Then the
// faults end, everything on its way lands, the sinks become level, and verdict.go judges. docs/chaos.md says what by.
//
// It is a test that is a program, so it may import what tests may, also the fault proxy. Nothing may import it.
package main
