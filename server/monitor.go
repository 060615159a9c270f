package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"groom/api"
	"groom/fsm"
)

// monitor exports what the groom knows of itself, read from the tables when it is asked for.
type monitor struct {
	g         *Groom
	tasks     *prometheus.Desc
	attempts  *prometheus.Desc
	restarts  *prometheus.Desc
	ends      *prometheus.Desc
	slots     *prometheus.Desc
	maxTasks  *prometheus.Desc
	beats     *prometheus.Desc
	reached   *prometheus.Desc
	outbox    *prometheus.Desc
	recovery  *prometheus.Desc
	found     *prometheus.Desc
	dirOK     *prometheus.Desc
	dirFree   *prometheus.Desc
	incarnate *prometheus.Desc
}

var _ prometheus.Collector = (*monitor)(nil)

func newMonitor(g *Groom) *monitor {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("groom_"+name, help, labels, nil)
	}
	return &monitor{
		g:         g,
		tasks:     desc("tasks", "Tasks in the tables, by state.", "state"),
		attempts:  desc("attempts", "Attempts in the tables, by state.", "state"),
		restarts:  desc("restarts", "Attempts in the tables beyond the first of their task."),
		ends:      desc("attempts_ended", "Ended attempts in the tables, by kind of outcome.", "outcome"),
		slots:     desc("slots_used", "Tasks that hold a place of the groom's capacity."),
		maxTasks:  desc("slots", "Tasks that the groom takes at once."),
		beats:     desc("heartbeats_total", "Heartbeats that a master answered."),
		reached:   desc("master_reached", "1 while a master answers."),
		outbox:    desc("outbox_reports", "Reports that the master does not hold yet."),
		recovery:  desc("recovery_seconds", "How long the newest start took until every attempt was settled."),
		found:     desc("recovery_attempts", "What the newest start found of attempts that had not ended.", "finding"),
		dirOK:     desc("local_dir_ok", "1 while the local directory takes tasks.", "path"),
		dirFree:   desc("local_dir_free_bytes", "Bytes free in the local directory.", "path"),
		incarnate: desc("incarnation", "Number of starts of this groom."),
	}
}

// Describe sends every description.
func (m *monitor) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.tasks, m.attempts, m.restarts, m.ends, m.slots, m.maxTasks, m.beats, m.reached, m.outbox, m.recovery,
		m.found, m.dirOK, m.dirFree, m.incarnate,
	} {
		ch <- d
	}
}

// Collect reads the tables.
func (m *monitor) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	tasks, attempts, ends := map[api.TaskState]int{}, map[fsm.AttemptState]int{}, map[api.OutcomeKind]int{}
	var restarts, slots, outbox int
	var self fsm.Self
	m.g.machine.View(func() {
		for _, t := range m.g.state.Tasks.All() {
			tasks[t.State]++
		}
		for _, a := range m.g.state.Attempts.All() {
			attempts[a.State]++
			if a.End != nil {
				ends[a.End.Outcome.Kind]++
			}
			if a.ID.N() > 1 {
				restarts++
			}
		}
		slots, outbox, self = m.g.state.Slots(), m.g.state.Outbox.Len(), m.g.state.Me()
	})
	for state, n := range tasks {
		gauge(m.tasks, float64(n), string(state))
	}
	for state, n := range attempts {
		gauge(m.attempts, float64(n), string(state))
	}
	for kind, n := range ends {
		gauge(m.ends, float64(n), string(kind))
	}
	gauge(m.restarts, float64(restarts))
	gauge(m.slots, float64(slots))
	gauge(m.maxTasks, float64(self.MaxTasks))
	gauge(m.outbox, float64(outbox))
	gauge(m.incarnate, float64(self.Incarnation))
	_, reached, beats := m.g.link.master()
	ch <- prometheus.MustNewConstMetric(m.beats, prometheus.CounterValue, float64(beats))
	gauge(m.reached, truth(reached))
	if r := m.g.lastRecovery(); r != nil {
		gauge(m.recovery, r.Took.Seconds())
		found := map[api.Finding]int{}
		for _, row := range r.Found {
			found[row.Finding]++
		}
		for finding, n := range found {
			gauge(m.found, float64(n), string(finding))
		}
	}
	for _, d := range m.g.dirStatus() {
		gauge(m.dirOK, truth(d.OK), d.Path)
		gauge(m.dirFree, float64(d.FreeBytes), d.Path)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
