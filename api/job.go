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
	SharedDir string `json:"shared_dir,omitempty"`
	// User and Group are whose processes the tasks are, names or numbers; the groom's own unless told. Umask is in octal
	// digits. Rlimits holds "soft" or "soft:hard" by name, such as nofile, or "unlimited". OOMScore is what the kernel
	// adds when it looks for a process to kill, from -1000 to 1000.
	User      string            `json:"user,omitempty"`
	Group     string            `json:"group,omitempty"`
	Umask     string            `json:"umask,omitempty"`
	Rlimits   map[string]string `json:"rlimits,omitempty"`
	OOMScore  int               `json:"oom_score,omitempty"`
	Resources Resources         `json:"resources,omitzero"`
	Stop      Stop              `json:"stop"`
	Restart   Restart           `json:"restart"`
	Ping      Ping              `json:"ping"`
	Probe     Probe             `json:"probe"`
	Output    string            `json:"output,omitempty"` // directory in which a BSP job's parts appear when it commits
	Logs      Logs              `json:"logs"`
	Retention Retention         `json:"retention"`
	// OnGroomLost says what becomes of plain tasks when their groom's lease ends: "wait" for it, or "reschedule".
	OnGroomLost string `json:"on_groom_lost,omitempty"`
	// StopAfterDisconnect is for how long the tasks run on when no master answers their groom; 0 is for ever.
	StopAfterDisconnect Duration `json:"stop_after_disconnect,omitempty"`
}

// Resources bounds what one task may use, as far as the host's control groups can enforce it; 0 is no bound.
type Resources struct {
	Memory int64   `json:"memory,omitempty"` // bytes
	CPU    float64 `json:"cpu,omitempty"`    // cores
	Pids   int64   `json:"pids,omitempty"`   // processes and threads
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

// Restart says which ends of a plain task's process are followed by another, the budget of counted failures and the
// pause between attempts. The first restart of a budget period is immediate; later ones wait Backoff, doubled each time
// up to MaxBackoff, with up to a quarter of jitter added.
type Restart struct {
	Policy     RestartPolicy `json:"policy"`      // RestartOnFailure unless told
	Limit      int           `json:"limit"`       // attempts in a budget period, 3 unless told
	Backoff    Duration      `json:"backoff"`     // 1 s unless told
	MaxBackoff Duration      `json:"max_backoff"` // 1 min unless told
	// Healthy is the time for which an attempt has to run to begin a new budget period, 10 min unless told.
	Healthy Duration `json:"healthy"`
	// Unproven says what follows an attempt of which something might still run: "fail" the task, or "restart" it.
	Unproven string `json:"unproven"`
}

// RestartPolicy says which ends of a process are followed by another.
type RestartPolicy string

// The policies.
const (
	RestartOnFailure RestartPolicy = "on-failure"
	RestartAlways    RestartPolicy = "always" // also after an exit with code 0; only a stop or a kill ends the task
	RestartNever     RestartPolicy = "never"  // not even after a loss that is nobody's fault
)

// The values of Restart.Unproven.
const (
	UnprovenFails    = "fail"
	UnprovenRestarts = "restart"
)

// Ping says how often an SDK task must be heard of. A plain task is watched by its process alone unless Required, or
// unless it has a Probe.
type Ping struct {
	Period   Duration `json:"period"`             // 1 s unless told
	Missed   int      `json:"missed"`             // periods without a ping after which it is out of contact, 6 unless told
	First    int      `json:"first"`              // periods granted for the first ping, 10 unless told
	Required bool     `json:"required,omitempty"` // always true for BSP
	// Dump is the signal that asks a silent task for its stacks before it is killed, "SIGQUIT" unless told, or "none".
	Dump string `json:"dump"`
}

// DumpNone is a Ping.Dump that asks for nothing.
const DumpNone = "none"

// Probe asks a task that does not use the SDK whether it is well: by a command, by an HTTP request or by a TCP
// connection. A probe that fails Failures times in a row makes the task out of contact.
type Probe struct {
	Exec     []string `json:"exec,omitempty"` // program and arguments, run as the task, in its directory; well is code 0
	HTTP     string   `json:"http,omitempty"` // http URL on loopback; well is a status from 200 to 399
	TCP      string   `json:"tcp,omitempty"`  // host:port on loopback; well is a connection
	Period   Duration `json:"period"`         // 10 s unless told
	Timeout  Duration `json:"timeout"`        // of one probe, 2 s unless told
	Failures int      `json:"failures"`       // in a row, 3 unless told
	Grace    Duration `json:"grace"`          // after the start, in which failures do not count until the first success; 30 s unless told
}

// On says that there is anything to ask.
func (p Probe) On() bool { return len(p.Exec) > 0 || p.HTTP != "" || p.TCP != "" }

// Logs bounds what is kept of one stream of one attempt.
type Logs struct {
	MaxSize  int64 `json:"max_size"`  // bytes in one file, 10 MiB unless told
	MaxFiles int   `json:"max_files"` // files kept, 5 unless told
}

// Retention says how long the rows of an ended job are kept, and the directory and logs of an ended attempt. A disk
// that is nearly full loses directories earlier.
type Retention struct {
	Keep       Duration `json:"keep"`        // after an end that was no failure, 24 h unless told
	KeepFailed Duration `json:"keep_failed"` // after failure, 7 days unless told
}
