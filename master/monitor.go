package master

import (
	"github.com/prometheus/client_golang/prometheus"

	"groom/api"
	"groom/fsm/cluster"
)

// monitor exports what the master knows, read from the tables when it is asked for.
type monitor struct {
	m                                                 *Master
	jobs, grooms, queue, orders, beats, used, started *prometheus.Desc
}

var _ prometheus.Collector = (*monitor)(nil)

func newMonitor(m *Master) *monitor {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("groom_master_"+name, help, labels, nil)
	}
	return &monitor{
		m:       m,
		jobs:    desc("jobs", "Jobs in the tables, by state.", "state"),
		grooms:  desc("grooms", "Grooms in the tables, by state.", "state"),
		queue:   desc("queue_length", "Jobs that wait for room."),
		orders:  desc("directives_outstanding", "Directives that a groom has not answered."),
		beats:   desc("heartbeats_total", "Heartbeats taken by this process."),
		used:    desc("slots_used", "Places of all grooms that tasks take up."),
		started: desc("incarnation", "Number of starts of this master."),
	}
}

// Describe sends every description.
func (o *monitor) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{o.jobs, o.grooms, o.queue, o.orders, o.beats, o.used, o.started} {
		ch <- d
	}
}

// Collect reads the tables.
func (o *monitor) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	jobs, grooms := map[api.JobState]int{}, map[cluster.GroomState]int{}
	orders, used := 0, 0
	var self cluster.Self
	o.m.machine.View(func() {
		for _, j := range o.m.state.Jobs.All() {
			jobs[j.State]++
		}
		for _, g := range o.m.state.Grooms.All() {
			grooms[g.State]++
		}
		for _, n := range o.m.state.Used() {
			used += n
		}
		orders, self = o.m.state.Orders.Len(), o.m.state.Me()
	})
	for state, n := range jobs {
		gauge(o.jobs, float64(n), string(state))
	}
	for state, n := range grooms {
		gauge(o.grooms, float64(n), string(state))
	}
	gauge(o.queue, float64(jobs[api.JobQueued]))
	gauge(o.orders, float64(orders))
	gauge(o.used, float64(used))
	gauge(o.started, float64(self.Incarnation))
	ch <- prometheus.MustNewConstMetric(o.beats, prometheus.CounterValue, float64(o.m.grooms.beats.Load()))
}
