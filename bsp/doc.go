// Package bsp is the SDK for bulk synchronous parallel programs: N processes, the peers of a job, which compute by
// themselves within a step, send each other messages that arrive in the next one, and meet at a barrier in between.
//
// A program is a function of its Peer, which Main runs as a task of a groom:
//
//	func main() { bsp.Main(program) }
//
// It makes its channels and aggregators, the same on every peer, and gives Peer.Run the step to repeat. Channels carry
// numbers or bytes, addressed to an index at a peer, and can combine values for one index before they are sent.
// Received values come in an order that does not depend on timing, so that a run that is repeated after a failure
// computes the same to the last bit.
//
// Below that there are the calls that Hama's BSPPeer has, for programs that want to own their loop:
//
//	send(peer, msg)                       Peer.Send
//	getCurrentMessage, …NumCurrent…       Peer.Messages, an iterator
//	sync()                                Peer.Sync
//	getSuperstepCount()                   Peer.Superstep
//	getPeerIndex(), getNumPeers()         Peer.Index, Peer.N; peers are named by index, not by host and port
//	getAllPeerNames()                     0 to Peer.N()-1
//	getCounter(…).increment(n)            Peer.Counter(name).Add
//	getConfiguration().getInt(key, def)   Peer.Config().Int
//	write(key, value)                     files below Peer.Output
//	getTaskId()                           Peer.Job and Peer.Index
//
// # What a program may rely on
//
// A groom that is killed and started again interrupts nothing: the peers go on in the same step. When a peer dies, all
// are ended and started again from step 0 under the next epoch; there are no checkpoints yet. A program reads its
// input again then, and its output appears only when the whole job has succeeded. Messages are never lost in silence:
// what was sent is counted, and a step begins only when exactly that has arrived.
//
// # Limits
//
// All messages of a step have to fit into the memory of their receivers: nothing is spilled to disk. One message is at
// most 1 GiB. Aggregators hold finite float64 numbers.
//
// Package bsptest runs a program in a test without a groom. DESIGN.md tells the protocol.
package bsp
