package main

import "syscall"

// dieWithParent has the kernel kill the child when this program ends, even by a SIGKILL.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
