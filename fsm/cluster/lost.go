package cluster

import (
	"fmt"
	"slices"
	"strings"

	"groom/api"
)

// MustAbandon says that a job which ends waits for a groom that is lost.
func (s *State) MustAbandon(j Job) bool {
	_, lost := s.LostGroom(j)
	return lost && (j.State == api.JobKilling || j.State == api.JobFailing)
}

// abandoning ends a job without a word from its lost grooms. What they may still run is fenced off, and ended when they
// are back, since the kill stays outstanding.
func (d *decider) abandoning(o Abandoning) error {
	j, err := d.job(o.Job)
	if err != nil || !d.MustAbandon(j) {
		return err
	}
	j.Places = slices.Clone(j.Places)
	for i := range j.Places {
		p := &j.Places[i]
		g, _ := d.Grooms.Get(p.Groom)
		if g.State != Lost || p.Gone {
			continue
		}
		left := 0
		for n := p.First; n < p.First+p.Count; n++ {
			t := d.task(j, n)
			switch {
			case t.State.Terminal():
				continue
			case settled(t.State): // it counts as gone now, and as nothing else
				j.Count = counted(j.Count, t.State, -1)
			}
			left++
		}
		p.Gone, p.Done, p.Stopped = true, p.Count, 0
		j.Gone += left
		words := fmt.Sprintf("%s of %s end without a word from groom %s, which is lost", tasks(left), j.ID, g.Name)
		d.say("%s", words)
		j.Reason = clip(strings.TrimPrefix(j.Reason+"; "+words, "; "), reasonLimit)
	}
	d.judge(&j)
	d.putJob(j)
	return nil
}

// movedAtOnce bounds the tasks of one entry that go to other grooms.
const movedAtOnce = 64

// MustMove says that plain tasks wait for a lost groom though their job lets them go elsewhere.
func (s *State) MustMove(j Job) bool {
	if !j.Reschedule || j.Type != api.Plain || j.State != api.JobRunning {
		return false
	}
	for _, p := range j.Places {
		if g, ok := s.Grooms.Get(p.Groom); ok && g.State == Lost && p.held() > 0 {
			return true
		}
	}
	return false
}

// moving gives plain tasks of lost grooms to others, as far as there is room. The lost groom is told to kill them when
// it is back: until then a second copy may run, which the job said it can bear.
func (d *decider) moving(o Moving) error {
	j, err := d.job(o.Job)
	if err != nil || !d.MustMove(j) {
		return err
	}
	rooms := d.rooms(Job{}, o.Present)
	var places []Place
	left := map[string][]int{} // tasks by the groom that they leave
	for _, p := range j.Places {
		g, _ := d.Grooms.Get(p.Groom)
		if g.State != Lost {
			places = append(places, p)
			continue
		}
		for n := p.First; n < p.First+p.Count; n++ {
			one, t := p, d.task(j, n)
			one.First, one.Count, one.Done, one.Stopped = n, 1, 0, 0
			at := slices.IndexFunc(rooms, func(r room) bool { return r.free > 0 && !slices.Contains(t.Left, r.groom) })
			switch {
			case t.State == api.TaskStopped:
				one.Stopped = 1
			case settled(t.State):
				one.Done = 1
			case at >= 0 && t.Asked == "" && len(left[p.Groom]) < movedAtOnce:
				rooms[at].free--
				left[p.Groom] = append(left[p.Groom], n)
				t.Left = with(t.Left, p.Groom)
				t.State, t.Failures = api.TaskLaunching, 0
				t.Words = fmt.Sprintf("moved away from groom %s, which is lost", g.Name)
				// The lost groom may have made attempts of its own meanwhile, though never more than one budget allows.
				one.Attempt = max(t.Attempt, p.Attempt) + j.Limit + uncountedLimit + 1
				one.Groom = rooms[at].groom
				d.putTask(t)
			}
			places = join(places, one)
		}
	}
	if len(left) == 0 {
		return nil // no room yet
	}
	before := j.grooms()
	j.Places = places
	for _, groom := range before {
		if gone := left[groom]; len(gone) > 0 {
			d.order(&j, Order{Groom: groom, Kind: api.DirectiveKill, Tasks: gone, Reason: "moved to another groom"})
			d.say("%s of %s move away from groom %s, which is lost", tasks(len(gone)), j.ID, d.nameOf(groom))
		}
	}
	for _, groom := range j.grooms() {
		if g, _ := d.Grooms.Get(groom); g.State != Lost {
			j.Had = with(j.Had, groom)
			d.order(&j, Order{Groom: groom, Kind: api.DirectiveLaunch})
		}
	}
	d.putJob(j)
	return nil
}

// join adds a run of one task, to the run before it where they are alike.
func join(places []Place, one Place) []Place {
	if n := len(places) - 1; n >= 0 {
		last := &places[n]
		if last.Groom == one.Groom && last.Attempt == one.Attempt && last.Gone == one.Gone && last.First+last.Count == one.First {
			last.Count++
			last.Done += one.Done
			last.Stopped += one.Stopped
			return places
		}
	}
	return append(places, one)
}
