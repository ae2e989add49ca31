// Package athenatest is for tests: an Athena that speaks the wire protocol of Amazon's, as far as Penstock uses it, and answers with
// whatever runs SQL for it. It keeps Athena's rules where an engine may break on them: tokens, the limits of lengths and numbers, states
// that take their time and go back, errors for single executions, and results as objects on S3 whose names tell what they are. It
// counts what it is asked.
//
// An SQS queue and an S3, as much of each as goes with it, are for tests without peers.
//
// It imports query, general libraries and the S3 client only. It must never be imported by anything but tests.
package athenatest
