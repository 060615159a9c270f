package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"groom/api"
)

// Verdict says of a queued job whether it can be placed now, or else for what it waits.
type Verdict struct {
	Job  api.JobID
	Fits bool
	Why  string
}

// Queue judges every queued job, first come first served: a job that waits for room keeps those behind it waiting, so
// that it gets its turn however large it is. Only one that would not fit if everything were free is passed over.
func (s *State) Queue(present []string) []Verdict {
	var verdicts []Verdict
	var ahead api.JobID
	for _, j := range s.InOrder() {
		if j.State != api.JobQueued {
			continue
		}
		v := Verdict{Job: j.ID}
		switch {
		case ahead != "":
			v.Why = fmt.Sprintf("waits behind %s", ahead)
		default:
			var ever bool
			_, v.Why, ever = s.place(j, present)
			v.Fits = v.Why == ""
			if ever {
				ahead = j.ID
			}
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// room is a groom's part of the cluster's capacity.
type room struct {
	groom     string
	free, max int
}

// rooms are the grooms that take tasks, those with the most room first. What the job itself has taken up counts as
// free: it is placed anew.
func (s *State) rooms(j Job, present []string) []room {
	used := s.used(j.ID)
	var all []room
	for id, g := range s.Grooms.All() {
		if g.State == Ready && slices.Contains(present, id) {
			all = append(all, room{id, max(0, g.MaxTasks-used[id]), g.MaxTasks})
		}
	}
	slices.SortStableFunc(all, func(a, b room) int { return cmp.Compare(b.free, a.free) })
	return all
}

// place finds places for all tasks of a job, or says why there are none, and whether there could ever be with the grooms
// that are there.
func (s *State) place(j Job, present []string) (places []Place, why string, ever bool) {
	rooms := s.rooms(j, present)
	if len(rooms) == 0 {
		return nil, "waits for a groom that takes tasks", false
	}
	var free, total, most, largest int
	for _, r := range rooms {
		free, total, most, largest = free+r.free, total+r.max, max(most, r.free), max(largest, r.max)
	}
	if again := s.again(j, rooms); again != nil {
		return again, "", true
	}
	if j.Type == api.BSP && !j.Shared {
		// The fullest groom that has room, which leaves the larger gaps to larger jobs.
		for _, r := range slices.Backward(rooms) {
			if r.free >= j.Tasks {
				return []Place{{Groom: r.groom, Count: j.Tasks}}, "", true
			}
		}
		why = fmt.Sprintf("waits for room on one groom: needs %d places, %d are free of %d", j.Tasks, most, largest)
		if free >= j.Tasks || largest < j.Tasks {
			why += "; with a shared_dir it could spread over several"
		}
		return nil, why, largest >= j.Tasks
	}
	if free < j.Tasks {
		return nil, fmt.Sprintf("waits for room: needs %d places, %d are free of %d", j.Tasks, free, total), total >= j.Tasks
	}
	for first := 0; first < j.Tasks; rooms = rooms[1:] {
		n := min(rooms[0].free, j.Tasks-first)
		if n == 0 {
			break
		}
		places = append(places, Place{Groom: rooms[0].groom, First: first, Count: n})
		first += n
	}
	return places, "", true
}

// again are the places that the job had, if all of them have room for it: what its tasks left there may be of use.
func (s *State) again(j Job, rooms []room) []Place {
	if len(j.Places) == 0 {
		return nil
	}
	free := map[string]int{}
	for _, r := range rooms {
		free[r.groom] = r.free
	}
	var places []Place
	for _, p := range j.Places {
		if free[p.Groom] -= p.Count; free[p.Groom] < 0 {
			return nil
		}
		places = append(places, Place{Groom: p.Groom, First: p.First, Count: p.Count})
	}
	return places
}

// placing starts a queued job: all of its tasks or none.
func (d *decider) placing(o Placing) error {
	j, err := d.job(o.Job)
	if err != nil {
		return err
	}
	for _, v := range d.Queue(o.Present) {
		if v.Job != o.Job || !v.Fits {
			continue
		}
		places, _, _ := d.place(j, o.Present)
		d.start(&j, places)
		d.putJob(j)
	}
	return nil
}

// start gives a job its places, a BSP job under a new epoch, and orders its tasks. A job that ran before is recovered:
// every groom that ever had tasks of it ends what is left of older epochs.
func (d *decider) start(j *Job, places []Place) {
	attempt, kind := 1, api.DirectiveLaunch
	if j.Type == api.BSP {
		j.Epoch++
		// A BSP task has one attempt in an epoch, so the epoch's number serves.
		attempt = j.Epoch
		if len(j.Had) > 0 {
			kind = api.DirectiveRecover
		}
	}
	for i := range places {
		places[i].Attempt = attempt
	}
	j.Places, j.Count, j.Gone, j.Cause = places, nil, 0, ""
	reason := j.Reason
	j.State, j.Reason = api.JobRunning, ""
	if j.Started.IsZero() {
		j.Started = d.now
	}
	for _, groom := range j.grooms() {
		j.Had = with(j.Had, groom)
	}
	d.say("%s runs%s%s", j.ID, epochWords(*j), d.where(*j))
	told := j.grooms()
	if kind == api.DirectiveRecover {
		told = j.Had
	}
	for _, groom := range told {
		d.supersede(*j, groom)
		d.order(j, Order{Groom: groom, Kind: kind, Reason: reason})
	}
}

func epochWords(j Job) string {
	if j.Type != api.BSP {
		return ""
	}
	return fmt.Sprintf(" in epoch %d", j.Epoch)
}

// where tells the places in words.
func (d *decider) where(j Job) string {
	words := ""
	for i, p := range j.Places {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		words += fmt.Sprintf("%s%s on %s", sep, tasks(p.Count), d.nameOf(p.Groom))
	}
	return words
}

func tasks(n int) string {
	if n == 1 {
		return "1 task"
	}
	return fmt.Sprintf("%d tasks", n)
}

func with(all []string, one string) []string {
	if slices.Contains(all, one) {
		return all
	}
	all = append(slices.Clone(all), one)
	slices.Sort(all)
	return all
}
