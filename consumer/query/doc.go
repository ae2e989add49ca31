// Package query runs SQL over the lake: executions with their states and results.
//
// It is part of the consumer core: it imports schemas, consumer and general libraries only. What it needs from outside
// is declared in ports.go. A client is told nothing that an engine did not mean for it: the text of an error reaches
// Execution.Error only when it matches one of the package's own errors, all else goes to the log.
package query
