// Groom is a crash-resilient node agent for bulk synchronous parallel jobs. See README.md.
//
// Who is handed to whom; arrows point at what is used:
//
//	main ── cli ── node ──┬── web        pages, JSON twins, one event stream
//	         │            ├── master     the BSPMaster ───┐
//	         │            └── server     the GroomServer ─┼── fsm, fsm/cluster   decide, record
//	         │                 │                          ├── journal, story     bbolt + raft, told in words
//	         │                 ├── server/barrier         ├── server/home        the data directory
//	         │                 ├── server/disk            └── wire ── api        messages
//	         ├── job           └── supervisor ── supervisor/shim
//	         └── doctor            what a start would find; uses fsm, journal, supervisor, and changes nothing
//
// This binary is also the shim of every task: package supervisor/shim takes over in its init when it was started as
// one, before anything here runs.
package main

import (
	"os"

	"groom/cli"
)

// build is set by the Makefile.
var build string

func main() { os.Exit(cli.Main(os.Args[1:], build)) }
