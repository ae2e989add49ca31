// Penstock is a durable front door for JSON: see README.md, and ARCHITECTURE.md for the way through the code.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
