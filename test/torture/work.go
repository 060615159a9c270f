package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"groom/api"
)

// openTasks is how many tasks the client keeps in the queue and in the slots together.
const openTasks = 14

// work is a client that goes on meanwhile: it hands in jobs, the same ones again, stops, resumes and kills some, and
// reads logs. What it was told is kept for the judgement.
type work struct {
	a    *agent
	seed uint64
	d    dirs
	rng  *rand.Rand
	stop chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	next  int // number of the next job
	sent  []*submission
	acts  []act
	asked map[api.JobID]map[api.Verb]bool // also when no answer came
	wrong []string                        // answers that contradict each other
	reads int
}

// submission is a request to run a job. It is handed in again, under the same id, until it is answered.
type submission struct {
	request string
	spec    api.JobSpec
	job     api.JobID // "" until it was acknowledged
	index   uint64
	again   int
}

// act is an order that was acknowledged as recorded.
type act struct {
	verb  api.Verb
	job   api.JobID
	index uint64
}

func newWork(a *agent, seed uint64, d dirs) *work {
	return &work{
		a: a, seed: seed, d: d, rng: rand.New(rand.NewPCG(seed, 2)), stop: make(chan struct{}), asked: map[api.JobID]map[api.Verb]bool{},
	}
}

func (w *work) begin() {
	w.done.Go(func() {
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(5*time.Millisecond + upTo(w.rng, 15*time.Millisecond)):
				w.turn()
			}
		}
	})
}

func (w *work) end() {
	close(w.stop)
	w.done.Wait()
}

func (w *work) turn() {
	var jobs []api.JobView
	if w.a.get("/jobs", &jobs) != nil {
		return // it is being killed
	}
	open := 0
	var living []api.JobView
	for _, j := range jobs {
		if !j.State.Terminal() && j.State != api.JobStopped {
			open += j.Tasks
		}
		if !j.State.Terminal() {
			living = append(living, j)
		}
	}
	if open < openTasks {
		w.submit()
	}
	dice := w.rng.IntN(100)
	switch {
	case dice < 12 && len(w.sent) > 0:
		w.send(w.sent[w.rng.IntN(len(w.sent))])
	case dice < 30 && len(living) > 0:
		w.order(living[w.rng.IntN(len(living))])
	case dice < 45 && len(jobs) > 0:
		w.read(jobs[w.rng.IntN(len(jobs))])
	}
}

// submit hands in the next job, or the newest again when nobody knows whether it was taken.
func (w *work) submit() {
	if n := len(w.sent); n > 0 && w.sent[n-1].job == "" {
		w.send(w.sent[n-1])
		return
	}
	s := &submission{request: fmt.Sprintf("r%d", w.next), spec: jobOf(w.seed, w.next, w.d)}
	w.next++
	w.mu.Lock()
	w.sent = append(w.sent, s)
	w.mu.Unlock()
	w.send(s)
}

func (w *work) send(s *submission) {
	var reply api.Submission
	err := w.a.post("/jobs", api.SubmitRequest{Version: api.Version, Request: s.request, Spec: s.spec}, &reply)
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Code != api.CodeUnavailable && p.Code != api.CodeInternal && p.Code != api.CodeToken {
		w.wrong = append(w.wrong, fmt.Sprintf("request %s was refused: %v", s.request, err))
	}
	if err != nil {
		return
	}
	if s.job != "" && (s.job != reply.Job || s.index != reply.Index) {
		w.wrong = append(w.wrong, fmt.Sprintf("request %s was answered %s by entry %d, and then %s by entry %d", s.request, s.job, s.index, reply.Job, reply.Index))
		return
	}
	if s.job != "" {
		s.again++
	}
	s.job, s.index = reply.Job, reply.Index
}

// order stops a job, resumes it, or seldom kills it.
func (w *work) order(j api.JobView) {
	verb := api.VerbStop
	if j.State == api.JobStopped || j.State == api.JobStopping {
		verb = api.VerbResume
	}
	if w.rng.IntN(6) == 0 {
		verb = api.VerbKill
	}
	w.act(j.ID, verb)
}

// act asks, and keeps what was acknowledged. Too late is an answer as well.
func (w *work) act(job api.JobID, verb api.Verb) {
	w.mu.Lock()
	if w.asked[job] == nil {
		w.asked[job] = map[api.Verb]bool{}
	}
	w.asked[job][verb] = true
	w.mu.Unlock()
	var reply api.ActReply
	err := w.a.post("/jobs/"+string(job)+"/"+string(verb), api.ActRequest{Version: api.Version}, &reply)
	if err != nil || reply.Already {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acts = append(w.acts, act{verb, job, reply.Index})
}

// read reads what a job's first task wrote, as far as it comes.
func (w *work) read(j api.JobView) {
	resp, err := w.a.http.Get(w.a.base() + "/tasks/" + string(j.ID.Task(0)) + "/logs?raw=1&stream=stdout")
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // it may be killed meanwhile
		w.reads++
	}
}

// finish kills every job that has not ended, and waits until all have. What does not end is a finding.
func (w *work) finish() error {
	var left []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		// What was handed in and never answered is settled first.
		if n := len(w.sent); n > 0 && w.sent[n-1].job == "" {
			w.send(w.sent[n-1])
			continue
		}
		var jobs []api.JobView
		if w.a.get("/jobs", &jobs) != nil {
			continue
		}
		left = nil
		for _, j := range jobs {
			if j.State.Terminal() {
				continue
			}
			left = append(left, fmt.Sprintf("%s (%s)", j.ID, j.State))
			if j.State != api.JobKilling && j.State != api.JobFailing && j.State != api.JobCommitting {
				w.act(j.ID, api.VerbKill)
			}
		}
		if len(left) == 0 {
			return w.settle()
		}
	}
	return fmt.Errorf("jobs do not end: %v", left)
}

// settle waits until nothing is recorded any more: every report acknowledged, every directive answered.
func (w *work) settle() error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var groom struct{ Outbox map[string]json.RawMessage }
		var master struct{ Orders map[string]json.RawMessage }
		if w.a.get("/state?of=groom", &groom) == nil && w.a.get("/state?of=master", &master) == nil && len(groom.Outbox)+len(master.Orders) == 0 {
			return nil
		}
	}
	return errors.New("reports or directives wait for ever")
}
