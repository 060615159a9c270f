// Package api holds the wire types that the groom, the master, the pages, the CLI and the SDK share.
// It carries no logic beyond names, text forms and the meaning of an outcome.
package api

// Version is the protocol version that every message carries. A receiver accepts its own version and the one
// before it, and refuses every other with CodeVersion.
const Version = 1

// Ports, after Hama's.
const (
	PortGroomWeb   = 40015 // pages and JSON of a groom
	PortWorker     = 50000 // worker server: directives, and the barrier streams of other grooms
	PortTaskReport = 50001 // task report server, loopback only; tasks prefer the unix socket
	PortMaster     = 40000 // the master's API for grooms and clients
	PortMasterWeb  = 40013 // pages and JSON of a master
)
