// Package cluster holds the state tables of a master and every decision about them. It is pure, as package fsm is for a
// groom: what happens in the world comes in as an observation with its time and seed, what is decided goes out as
// changed rows, which the journal records before anything acts on them.
package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"groom/api"
	"groom/fsm/table"
)

// Self is the one row that says who this master is.
type Self struct {
	Cluster     string `json:"cluster"` // random, made at the first start
	Name        string `json:"name"`
	Incarnation uint64 `json:"incarnation"`
	BootID      string `json:"boot_id"`
	Build       string `json:"build"`
	Jobs        uint64 `json:"jobs,omitempty"` // submitted so far: the serial number of the newest
}

// GroomState is what the master holds of a groom's ability to take tasks.
type GroomState string

// The states of a groom.
const (
	Ready     GroomState = "ready"
	Unhealthy GroomState = "unhealthy" // alive, and says that it takes no tasks
	Lost      GroomState = "lost"      // its lease is over
)

// Groom is a node of the cluster. Its token and its heartbeats are soft state of the process, and in no row.
type Groom struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Incarnation uint64     `json:"incarnation"`
	MaxTasks    int        `json:"max_tasks"`
	WorkerAddr  string     `json:"worker_addr,omitempty"`
	WebURL      string     `json:"web_url,omitempty"`
	State       GroomState `json:"state"`
	Reason      string     `json:"reason,omitempty"`
	Since       api.Moment `json:"since"`
	Failures    int        `json:"failures,omitempty"` // counted ends of attempts here
}

// Place gives a run of tasks to a groom: those with the indexes First to First+Count-1. A job has few of them however
// many its tasks are, which keeps its row, and so each of its entries, small.
type Place struct {
	Groom   string `json:"groom"`
	First   int    `json:"first"`
	Count   int    `json:"count"`
	Attempt int    `json:"attempt"`           // serial number of the attempts that the master ordered
	Done    int    `json:"done,omitempty"`    // tasks that need no process any more
	Stopped int    `json:"stopped,omitempty"` // tasks that may be resumed
	// Gone says that the job ends without a word from the groom, whose lease is over.
	Gone bool `json:"gone,omitempty"`
}

func (p Place) has(index int) bool { return index >= p.First && index < p.First+p.Count }

// held is the number of the groom's places that the run takes up.
func (p Place) held() int { return p.Count - p.Done - p.Stopped }

// Job is what the master knows of a job. The parts of the spec that decisions need are copied here, since a decision
// may read nothing but the tables.
type Job struct {
	ID         api.JobID     `json:"id"`
	Seq        uint64        `json:"seq"`
	Name       string        `json:"name"`
	Type       api.JobType   `json:"type"`
	Spec       string        `json:"spec"` // SHA-256 of the spec file
	Tasks      int           `json:"tasks"`
	Shared     bool          `json:"shared,omitempty"`     // names a directory that every groom sees
	Reschedule bool          `json:"reschedule,omitempty"` // plain tasks of a lost groom go elsewhere
	Limit      int           `json:"limit"`                // counted failures of one task in one budget period
	Retention  api.Retention `json:"retention"`
	Request    string        `json:"request,omitempty"`

	State     api.JobState `json:"state"`
	Reason    string       `json:"reason,omitempty"`
	Submitted api.Moment   `json:"submitted"`
	Started   api.Moment   `json:"started,omitzero"`
	Ended     api.Moment   `json:"ended,omitzero"`

	Epoch  int     `json:"epoch,omitempty"`  // of BSP jobs, from 1
	Period int     `json:"period,omitempty"` // budget period: a resume begins a new one
	Cause  string  `json:"cause,omitempty"`  // why the epoch has to end; the next one is not decided yet
	Resume bool    `json:"resume,omitempty"` // to be resumed as soon as it has stopped
	Places []Place `json:"places,omitempty"` // of a queued or stopped job: where its tasks were
	// Had names every groom that was ever given tasks of the job, in the order of their ids.
	Had []string `json:"had,omitempty"`
	// Count says how many tasks are in each state that a groom reported as settled, in this epoch.
	Count     map[api.TaskState]int `json:"count,omitempty"`
	Gone      int                   `json:"gone,omitempty"`   // tasks that ended with a lost groom, unreported
	Orders    int                   `json:"orders,omitempty"` // directives made for it so far
	Failures  int                   `json:"failures,omitempty"`
	Uncounted int                   `json:"uncounted,omitempty"`
	Forget    bool                  `json:"forget,omitempty"` // its retention is over
}

// holds says that tasks of the job take up places of grooms.
func (j Job) holds() bool {
	switch j.State {
	case api.JobRunning, api.JobStopping, api.JobCommitting, api.JobKilling, api.JobFailing:
		return true
	case api.JobStopped:
		return j.Type == api.Plain // some of its tasks may be on their way back
	}
	return false
}

// at is the position of the run that holds the task, -1 when none does.
func (j Job) at(index int) int {
	return slices.IndexFunc(j.Places, func(p Place) bool { return p.has(index) })
}

// GroomOf is the id of the groom that has the task, or had it last; "" when none ever did.
func (j Job) GroomOf(index int) string {
	if i := j.at(index); i >= 0 {
		return j.Places[i].Groom
	}
	return ""
}

// grooms are those of the job's places, each once, in the order of their first task.
func (j Job) grooms() []string {
	var all []string
	for _, p := range j.Places {
		if !slices.Contains(all, p.Groom) {
			all = append(all, p.Groom)
		}
	}
	return all
}

// over is the number of tasks that have ended for good.
func (j Job) over() int {
	return j.Count[api.TaskSucceeded] + j.Count[api.TaskFailed] + j.Count[api.TaskKilled] + j.Gone
}

// Root is the groom where the barriers of the job meet.
func (j Job) Root() string { return j.GroomOf(0) }

// Task is what grooms reported of a task. A task of which there was no report has no row.
type Task struct {
	ID        api.TaskID    `json:"id"`
	State     api.TaskState `json:"state"`
	Epoch     int           `json:"epoch,omitempty"`
	Period    int           `json:"period,omitempty"`
	Attempt   int           `json:"attempt,omitempty"` // serial number of the newest attempt that was reported
	Failures  int           `json:"failures,omitempty"`
	Uncounted int           `json:"uncounted,omitempty"`
	Outcome   *api.Outcome  `json:"outcome,omitempty"` // of the newest ended attempt
	Words     string        `json:"words,omitempty"`
	Since     api.Moment    `json:"since,omitzero"`
	Asked     api.Verb      `json:"asked,omitempty"` // of this task alone, and not yet reported as done
	// Seen is the newest revision that each groom has reported: what comes twice, or late, is known by it.
	Seen map[string]uint64 `json:"seen,omitempty"`
	Left []string          `json:"left,omitempty"` // grooms that the task was moved away from
}

// Order is a directive that its groom has not answered yet.
type Order struct {
	ID     string            `json:"id"`
	Groom  string            `json:"groom"`
	Kind   api.DirectiveKind `json:"kind"`
	Job    api.JobID         `json:"job"`
	Epoch  int               `json:"epoch,omitempty"`
	Tasks  []int             `json:"tasks,omitempty"`
	Placed bool              `json:"placed,omitempty"` // it names the tasks that are placed with the groom
	Fail   bool              `json:"fail,omitempty"`
	Reason string            `json:"reason,omitempty"`
	Since  api.Moment        `json:"since"`
}

// Request is a submission that was taken.
type Request struct {
	Job  api.JobID `json:"job"`
	Spec string    `json:"spec"`
}

// Incarnation is one start of the master.
type Incarnation struct {
	At     api.Moment `json:"at"`
	Build  string     `json:"build"`
	BootID string     `json:"boot_id"`
}

// Windows of the tables that remember what was seen.
const (
	requestWindow     = 4096
	incarnationWindow = 64
	selfKey           = "self"
)

// State is the tables of a master.
type State struct {
	Store        *table.Store
	Self         *table.Table[Self]
	Grooms       *table.Table[Groom]       // by groom id
	Jobs         *table.Table[Job]         // by job id
	Tasks        *table.Table[Task]        // by task id
	Orders       *table.Table[Order]       // by directive id
	Requests     *table.Table[Request]     // by request id
	Incarnations *table.Table[Incarnation] // by number
}

// NewState makes empty tables.
func NewState() *State {
	s := table.NewStore()
	return &State{
		Store:        s,
		Self:         table.New[Self](s, "self", 0),
		Grooms:       table.New[Groom](s, "grooms", 0),
		Jobs:         table.New[Job](s, "jobs", 0),
		Tasks:        table.New[Task](s, "tasks", 0),
		Orders:       table.New[Order](s, "orders", 0),
		Requests:     table.New[Request](s, "requests", requestWindow),
		Incarnations: table.New[Incarnation](s, "incarnations", incarnationWindow),
	}
}

// NewMachine makes a machine over the tables, for a journal to drive. watch may be nil.
func NewMachine(s *State, watch func(index uint64, kind uint16, e *table.Entry)) *table.Machine {
	return table.NewMachine("master", Kinds(), s.Store, watch)
}

// Me is the row that says who this master is; it is empty before the first boot.
func (s *State) Me() Self {
	self, _ := s.Self.Get(selfKey)
	return self
}

// InOrder is every job in the order of the submissions.
func (s *State) InOrder() []Job {
	var all []Job
	for _, j := range s.Jobs.All() {
		all = append(all, j)
	}
	slices.SortFunc(all, func(a, b Job) int { return cmp.Compare(a.Seq, b.Seq) })
	return all
}

// Task is a task as the master holds it: what its groom reported, as far as that is about this epoch and this budget
// period, and else what follows from the state of its job.
func (s *State) Task(j Job, index int) Task {
	t, _ := s.Tasks.Get(string(j.ID.Task(index)))
	t = j.current(t, index)
	if t.State != api.TaskLaunching {
		return t
	}
	if at := j.at(index); at >= 0 && j.Places[at].Gone {
		t.Outcome, t.Words = nil, "its groom is lost: what it ran is ended when the groom is back"
	}
	switch {
	case j.State == api.JobQueued, j.at(index) < 0 && !j.State.Terminal():
		t.State = api.TaskPending
	case j.State == api.JobStopped && j.Type == api.BSP:
		t.State = api.TaskStopped
	case j.State == api.JobFailed:
		t.State = api.TaskFailed
	case j.State == api.JobKilled:
		t.State = api.TaskKilled
	}
	return t
}

// current is the row without what an older epoch or budget period left in it. A task that was not heard of since it was
// ordered is launching, as far as the master knows.
func (j Job) current(t Task, index int) Task {
	if t.ID == "" {
		return Task{ID: j.ID.Task(index), State: api.TaskLaunching, Epoch: j.Epoch, Period: j.Period}
	}
	if t.Period < j.Period {
		t.Failures, t.Uncounted, t.Asked, t.Period = 0, 0, "", j.Period
		if t.State == api.TaskStopped {
			t.State = api.TaskLaunching
		}
	}
	if t.Epoch < j.Epoch {
		t.Epoch = j.Epoch
		if !t.State.Terminal() {
			t.State = api.TaskLaunching
		}
	}
	return t
}

// Launches are the tasks of a job that are placed with a groom, each with the serial number of its attempt.
func (j Job) Launches(groom string) []api.TaskLaunch {
	var all []api.TaskLaunch
	for _, p := range j.Places {
		if p.Groom != groom {
			continue
		}
		for i := p.First; i < p.First+p.Count; i++ {
			all = append(all, api.TaskLaunch{Index: i, Attempt: p.Attempt})
		}
	}
	return all
}

// used is how many places of each groom are taken, without those of one job.
func (s *State) used(without api.JobID) map[string]int {
	used := map[string]int{}
	for _, j := range s.Jobs.All() {
		if j.ID == without || !j.holds() {
			continue
		}
		for _, p := range j.Places {
			used[p.Groom] += p.held()
		}
	}
	return used
}

// Used is how many places of each groom are taken.
func (s *State) Used() map[string]int { return s.used("") }

// orderID names the n-th directive of a job, which is unique in the cluster as the job's id is.
func orderID(id api.JobID, n int) string {
	return fmt.Sprintf("directive_%s_%06d", strings.TrimPrefix(string(id), "job_"), n)
}

// settled says that a groom has nothing more to do for a task in this state until it is told to.
func settled(s api.TaskState) bool {
	return s.Terminal() || s == api.TaskCommitting || s == api.TaskStopped
}

// counted is the count with n more tasks in a state. Rows are immutable: the old map stays as it is.
func counted(count map[api.TaskState]int, state api.TaskState, n int) map[api.TaskState]int {
	count = maps.Clone(count)
	if count == nil {
		count = map[api.TaskState]int{}
	}
	if count[state] += n; count[state] == 0 {
		delete(count, state)
	}
	return count
}
