package api

// JobType says what the tasks of a job are.
type JobType string

// The two types of job.
const (
	Plain JobType = "plain" // processes that know nothing of each other or of groom
	BSP   JobType = "bsp"   // peers that step together through the SDK
)

// JobSpec is a job as its user wrote it, with every default filled in by package job. It is kept as a
// content-addressed file beside the journal, whose entries name it by the SHA-256 of its canonical JSON.
type JobSpec struct {
	Name      string            `json:"name"`
	Type      JobType           `json:"type"`
	Tasks     int               `json:"tasks"`
	Command   []string          `json:"command"`
	Env       map[string]string `json:"env,omitempty"`
	Config    map[string]string `json:"config,omitempty"` // handed to the SDK as Peer.Config
	Artifacts []Artifact        `json:"artifacts,omitempty"`
	// SharedDir is a directory that every groom sees at the same path. A BSP job runs over several grooms only when
	// it names one; without it the job waits for one groom with room for all its tasks.
	SharedDir string    `json:"shared_dir,omitempty"`
	Stop      Stop      `json:"stop"`
	Restart   Restart   `json:"restart"`
	Ping      Ping      `json:"ping"`
	Output    string    `json:"output,omitempty"` // directory in which a BSP job's parts appear when it commits
	Logs      Logs      `json:"logs"`
	Retention Retention `json:"retention"`
	// OnGroomLost says what becomes of plain tasks when their groom's lease ends: "wait" for it, or "reschedule".
	OnGroomLost string `json:"on_groom_lost,omitempty"`
}

// Artifact is a local file that is copied into the working directory of each attempt.
type Artifact struct {
	Source string `json:"source"`         // absolute path on the groom
	Name   string `json:"name"`           // name within the working directory
	SHA256 string `json:"sha256"`         // 64 hexadecimal digits
	Mode   uint32 `json:"mode,omitempty"` // permission bits, 0644 unless told
}

// Stop says how a task is asked to end before it is killed.
type Stop struct {
	Signal string   `json:"signal"` // "SIGTERM" unless told
	Grace  Duration `json:"grace"`  // 10 s unless told
}

// Restart is the budget of counted failures and the pause between attempts. The first restart of a budget period is
// immediate; later ones wait Backoff, doubled each time up to MaxBackoff, with up to a quarter of jitter added.
type Restart struct {
	Limit      int      `json:"limit"`       // attempts in a budget period, 3 unless told
	Backoff    Duration `json:"backoff"`     // 1 s unless told
	MaxBackoff Duration `json:"max_backoff"` // 1 min unless told
}

// Ping says how often an SDK task must be heard of. A plain task is watched by its process alone unless Required.
type Ping struct {
	Period   Duration `json:"period"`             // 1 s unless told
	Missed   int      `json:"missed"`             // periods without a ping after which it is out of contact, 6 unless told
	First    int      `json:"first"`              // periods granted for the first ping, 10 unless told
	Required bool     `json:"required,omitempty"` // always true for BSP
}

// Logs bounds what is kept of one stream of one attempt.
type Logs struct {
	MaxSize  int64 `json:"max_size"`  // bytes in one file, 10 MiB unless told
	MaxFiles int   `json:"max_files"` // files kept, 5 unless told
}

// Retention says how long the rows and directories of an ended job are kept.
type Retention struct {
	Keep       Duration `json:"keep"`        // after success, 24 h unless told
	KeepFailed Duration `json:"keep_failed"` // after failure, 7 days unless told
}
