//go:build !linux

package main

import "syscall"

// dieWithParent can do nothing here: a child outlives this program when that is ended by SIGKILL.
func dieWithParent(*syscall.SysProcAttr) {}
