package fsm

import (
	"fmt"
	"testing"

	"groom/api"
)

// The whole way of one attempt through the tables, without a journal: decide, record, apply, for the end of an
// attempt and the start of the next.
func BenchmarkEnded(b *testing.B) {
	for _, tasks := range []int{3, 50} {
		b.Run(fmt.Sprint(tasks), func(b *testing.B) {
			w := newWorld(b)
			w.must(b, Booted{MaxTasks: tasks})
			w.must(b, launching(api.DirectiveLaunch, testRow(api.BSP, tasks, 3), 1, 1, span(tasks)...), due(span(tasks)...))
			n := 1
			for b.Loop() {
				b.StopTimer()
				epoch := recovering(n+1, 0)
				w.must(b, epoch)
				w.log = w.log[:0]
				b.StartTimer()
				w.must(b, ended(0, n, rolledBack()))
				n++
			}
		})
	}
}
