package api

// Frames of the BSP control stream, which POST /v1/stream upgrades to (101 Switching Protocols, "Upgrade: groom-bsp/1").
// A frame is a big-endian uint32 length of what follows, one byte of type, and a JSON body.
//
//	task → groom:  hello (once, again after each reconnect), arrive
//	groom → task:  welcome (when every peer of the epoch said hello), release, rollback
//
// A task keeps its last two arrivals and repeats them in the hello after a reconnect. Two are enough: a peer that
// arrived at step k+1 was released from k, one that was not released from k repeats k, and no two peers are further
// apart than that. So a root that lost everything computes the same release again. One case would break it: a peer that
// ended after the last step cannot repeat itself for one that missed its release. So the peers meet once more after
// their done is journaled, in a barrier that is no superstep.

// FrameType is the first byte of a frame's body.
type FrameType byte

// The types of frame.
const (
	FrameHello    FrameType = 1
	FrameWelcome  FrameType = 2
	FrameArrive   FrameType = 3
	FrameRelease  FrameType = 4
	FrameRollback FrameType = 5
)

// Hello opens the stream of one peer.
type Hello struct {
	Version  int      `json:"version"`
	Epoch    int      `json:"epoch"`
	Index    int      `json:"index"`
	Unix     string   `json:"unix,omitempty"` // where this peer listens for data of peers on its host
	TCP      string   `json:"tcp"`            // and of peers elsewhere
	Arrivals []Arrive `json:"arrivals,omitempty"`
}

// Welcome tells a peer of all the others, in order of their index. Step 0 may start.
type Welcome struct {
	Version int        `json:"version"`
	Epoch   int        `json:"epoch"`
	Peers   []PeerAddr `json:"peers"`
}

// PeerAddr is where one peer takes data.
type PeerAddr struct {
	Index int    `json:"index"`
	Groom string `json:"groom"` // peers of one groom use the unix socket
	Unix  string `json:"unix,omitempty"`
	TCP   string `json:"tcp"`
}

// Arrive says that a peer has ended step Step: everything it had to send is under way.
type Arrive struct {
	Epoch    int              `json:"epoch"`
	Index    int              `json:"index"`
	Step     int              `json:"step"`
	Halt     bool             `json:"halt,omitempty"` // votes to end; the job halts when all do
	Sent     map[int]Count    `json:"sent,omitempty"` // by destination
	Aggs     map[string]Agg   `json:"aggs,omitempty"`
	Stats    StepStats        `json:"stats"`
	Counters map[string]int64 `json:"counters,omitempty"`
}

// Count is what went from one peer to another in one step.
type Count struct {
	Messages int64 `json:"m"`
	Bytes    int64 `json:"b"`
}

// Agg is one peer's part of an aggregator, and the whole in a release. Op is "sum", "min" or "max".
// The root reduces in the order of the peers' indexes, so the result does not depend on placement.
type Agg struct {
	Op    string  `json:"op"`
	Value float64 `json:"v"`
}

// StepStats is what one peer measured in one step.
type StepStats struct {
	ComputeNS int64 `json:"compute_ns"`
	SyncNS    int64 `json:"sync_ns"` // of the barrier before
}

// Release lets a peer start step Step+1. It starts once it has received exactly what Expect announces.
type Release struct {
	Epoch  int            `json:"epoch"`
	Index  int            `json:"index"` // of the peer it is for
	Step   int            `json:"step"`
	Halt   bool           `json:"halt,omitempty"`
	Expect map[int]Count  `json:"expect,omitempty"` // by sender
	Aggs   map[string]Agg `json:"aggs,omitempty"`
}

// Rollback ends an epoch for its peers: what they hold is void, and they end.
type Rollback struct {
	Epoch  int    `json:"epoch"`
	Reason string `json:"reason"`
}

// Superstep is the record of one step of a job, as the root writes it to a capped file beside the job.
type Superstep struct {
	Epoch     int     `json:"epoch"`
	Step      int     `json:"step"`
	At        string  `json:"at"` // RFC 3339 with nanoseconds, when the release went out
	TookNS    int64   `json:"took_ns"`
	Messages  int64   `json:"messages"`
	Bytes     int64   `json:"bytes"`
	ComputeNS []int64 `json:"compute_ns"` // by peer
}
