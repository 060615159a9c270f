package fsm

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"groom/api"
)

// Within one boot a wall clock that steps, by hours and either way, moves no deadline: two grooms that see the same, one
// of them with such a clock, decide the same and wait equally long.
func TestWallClockStepsMoveNoDeadline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steady, stepped := newWorld(t), newWorld(t)
		both := func(o Observation) {
			t.Helper()
			steady.must(t, o)
			stepped.must(t, o)
		}
		both(plain(3, 0, 1, 2))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			due, _, wait := steady.state.Due(steady.now)
			other, _, otherWait := stepped.state.Due(stepped.now)
			if diff := cmp.Diff(due, other); diff != "" || wait != otherWait {
				t.Fatalf("waits %s and %s, due (-steady +stepped):\n%s", wait, otherWait, diff)
			}
			i := rapid.IntRange(0, 2).Draw(t, "task")
			switch rapid.SampledFrom([]string{"wait", "step", "due", "start", "end"}).Draw(t, "what") {
			case "wait":
				d := time.Duration(rapid.Int64Range(0, int64(2*time.Minute)).Draw(t, "for"))
				steady.wait(d)
				stepped.wait(d)
			case "step":
				hours := rapid.IntRange(-48, 48).Draw(t, "hours")
				stepped.now.Wall = stepped.now.Wall.Add(time.Duration(hours) * time.Hour)
			case "due":
				if len(due) > 0 {
					both(Due{Tasks: due, Place: testPlace})
				}
			case "start":
				if a := steady.attempt(i, steady.task(i).Attempt); a.State == AttemptIntended && a.ID != "" {
					both(started(i, a.ID.N()))
				}
			case "end":
				if a := steady.attempt(i, steady.task(i).Attempt); a.State == AttemptRunning {
					both(ended(i, a.ID.N(), exit(rapid.IntRange(0, 1).Draw(t, "code"))))
				}
			}
			for i := range 3 {
				a, b := steady.task(i), stepped.task(i)
				if a.State != b.State || a.Attempt != b.Attempt || a.Failures != b.Failures {
					t.Fatalf("task %d: %s, attempt %d, %d failures; and %s, %d, %d", i, a.State, a.Attempt, a.Failures, b.State, b.Attempt, b.Failures)
				}
			}
		}
	})
}

// A deadline of another boot goes by the wall clock, which is all that is left of the time between.
func TestDeadlineOfAnotherBoot(t *testing.T) {
	set := api.Moment{Wall: zeroHour.Wall.Add(time.Hour), Boot: zeroHour.Boot + time.Hour, ID: "boot-1"}
	for _, c := range []struct {
		name string
		now  api.Moment
		want time.Duration
	}{
		{"the same boot, the wall clock a day ahead", api.Moment{Wall: zeroHour.Wall.Add(24 * time.Hour), Boot: zeroHour.Boot, ID: "boot-1"}, time.Hour},
		{"the same boot, the wall clock a day back", api.Moment{Wall: zeroHour.Wall.Add(-24 * time.Hour), Boot: zeroHour.Boot, ID: "boot-1"}, time.Hour},
		{"another boot, half an hour later", api.Moment{Wall: zeroHour.Wall.Add(30 * time.Minute), Boot: time.Second, ID: "boot-2"}, 30 * time.Minute},
		{"another boot, after the deadline", api.Moment{Wall: zeroHour.Wall.Add(2 * time.Hour), Boot: time.Second, ID: "boot-2"}, -time.Hour},
	} {
		if got := set.Until(c.now); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
