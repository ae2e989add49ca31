// Package faultproxy is for tests: an HTTP proxy between a client of AWS and a peer that stands for AWS (infra/deploy/stack),
// which does to requests what happens to them in the world: answers that are lost, requests that land minutes after they
// were given up, records that are throttled one by one. It records every call, from which follows what a deployment must be
// permitted.
//
// A Rule says which calls a Fault befalls. What it does follows from the seed, the rule and the number of the call alone, so
// that a run can be repeated. A Law is what AWS enforces and the peer does not (docs/aws-peers.md); it holds for every
// request that reaches the peer, also for a late one.
//
//	client ─▶ rules and faults ─▶ laws ─▶ peer
//
// Requests reach the peer with the host, the path and the headers that the client has signed. Those that are changed on the
// way (some records of a PutRecords) no longer match their signature, which only versitygw checks.
//
// It imports the standard library alone. It must never be imported by anything but tests, of which
// infra/deploy/chaos is one.
package faultproxy
