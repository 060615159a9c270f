package journal

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	metrics "github.com/hashicorp/go-metrics/compat"
	"github.com/prometheus/client_golang/prometheus"
)

var (
	_ prometheus.Collector = (*Journal)(nil)
	_ prometheus.Collector = (*raftSeries)(nil)
	_ metrics.MetricSink   = (*raftSeries)(nil)
)

// meter measures one journal.
type meter struct {
	latency                                                             prometheus.Histogram
	index, applied, snapshot, bytes, archive, slow, health, opened, ran *prometheus.Desc
}

func newMeter(of string) *meter {
	labels := prometheus.Labels{"of": of}
	desc := func(name, help string, variable ...string) *prometheus.Desc {
		return prometheus.NewDesc("groom_journal_"+name, help, variable, labels)
	}
	return &meter{
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "groom_journal_commit_seconds", ConstLabels: labels,
			Help:    "From the proposal of a record until it is durable and applied.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16), // 100 µs to 3 s
		}),
		index:    desc("index", "Index of the newest entry."),
		applied:  desc("records", "Records in the journal that were applied to the tables."),
		snapshot: desc("snapshot_index", "Entry that the newest snapshot stands after."),
		bytes:    desc("bytes", "Size of the log's file."),
		archive:  desc("archive_bytes", "Size of the archive's segments and anchors."),
		slow:     desc("slow_writes", "Writes that took longer than a second."),
		health:   desc("health", "1 for the degree of health that the journal has.", "health"),
		opened:   desc("open_seconds", "How long the start took until every entry was checked and applied."),
		ran:      desc("replayed", "Records that the start replayed."),
	}
}

func (m *meter) committed(d time.Duration) { m.latency.Observe(d.Seconds()) }

// Describe sends every description.
func (j *Journal) Describe(ch chan<- *prometheus.Desc) {
	m := j.meter
	m.latency.Describe(ch)
	for _, d := range []*prometheus.Desc{m.index, m.applied, m.snapshot, m.bytes, m.archive, m.slow, m.health, m.opened, m.ran} {
		ch <- d
	}
}

// Collect sends the journal's figures, labelled by the machine's name.
func (j *Journal) Collect(ch chan<- prometheus.Metric) {
	s, m := j.Stats(), j.meter
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	m.latency.Collect(ch)
	gauge(m.index, float64(s.Last))
	gauge(m.applied, float64(s.Total))
	gauge(m.snapshot, float64(s.Snapshot))
	gauge(m.bytes, float64(s.FileBytes))
	gauge(m.archive, float64(s.ArchiveBytes))
	gauge(m.slow, float64(s.SlowWrites))
	gauge(m.opened, s.OpenTook.Seconds())
	gauge(m.ran, float64(s.Replayed))
	for _, h := range []string{healthOK, healthNoSpace, healthStalled, healthSafe} {
		v := 0.0
		if h == s.Health {
			v = 1
		}
		gauge(m.health, v, h)
	}
}

// Metrics adds Raft's own series to a registry. Raft and raft-boltdb report to one sink for the whole process, so the
// series of two journals in one process are one.
func Metrics(reg prometheus.Registerer) error {
	if err := everyRaft.install(); err != nil {
		return err
	}
	var already prometheus.AlreadyRegisteredError
	if err := reg.Register(everyRaft); err != nil && !errors.As(err, &already) {
		return fmt.Errorf("register raft's metrics: %w", err)
	}
	return nil
}

var everyRaft = &raftSeries{all: map[string]*series{}}

// raftSeries keeps what Raft reports until somebody asks. Counters count; gauges hold the newest value; samples, which
// are milliseconds or sizes, become a sum and a count.
type raftSeries struct {
	once sync.Once
	err  error

	mu  sync.Mutex
	all map[string]*series
}

type series struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType // untyped is a sample
	sum   float64
	count uint64
}

func (r *raftSeries) install() error {
	r.once.Do(func() {
		conf := metrics.DefaultConfig("")
		conf.EnableHostname, conf.EnableRuntimeMetrics = false, false
		if _, err := metrics.NewGlobal(conf, r); err != nil {
			r.err = fmt.Errorf("carry raft's metrics: %w", err)
		}
	})
	return r.err
}

func (r *raftSeries) update(key []string, labels []metrics.Label, kind prometheus.ValueType, f func(*series)) {
	name := strings.Join(key, "_")
	id := name
	for _, l := range labels {
		id += ";" + l.Name + "=" + l.Value
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.all[id]
	if s == nil {
		fixed := prometheus.Labels{}
		for _, l := range labels {
			fixed[l.Name] = l.Value
		}
		s = &series{
			desc: prometheus.NewDesc(strings.NewReplacer(".", "_", "-", "_").Replace(name), "Reported by raft.", nil, fixed),
			kind: kind,
		}
		r.all[id] = s
	}
	f(s)
}

var seriesDesc = prometheus.NewDesc("groom_journal_raft_series", "Series that raft has reported.", nil, nil)

// Describe sends the one series that is always there; a registry knows the collector again by it. Which others there
// are is Raft's choice.
func (r *raftSeries) Describe(ch chan<- *prometheus.Desc) { ch <- seriesDesc }

// Collect sends what Raft has reported.
func (r *raftSeries) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(seriesDesc, prometheus.GaugeValue, float64(len(r.all)))
	for _, s := range r.all {
		if s.kind == prometheus.UntypedValue {
			ch <- prometheus.MustNewConstSummary(s.desc, s.count, s.sum, nil)
			continue
		}
		ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.sum)
	}
}

// SetGauge keeps the newest value.
func (r *raftSeries) SetGauge(key []string, val float32) { r.SetGaugeWithLabels(key, val, nil) }

// SetGaugeWithLabels keeps the newest value.
func (r *raftSeries) SetGaugeWithLabels(key []string, val float32, labels []metrics.Label) {
	r.update(key, labels, prometheus.GaugeValue, func(s *series) { s.sum = float64(val) })
}

// EmitKey is not used by Raft.
func (r *raftSeries) EmitKey([]string, float32) {}

// IncrCounter counts.
func (r *raftSeries) IncrCounter(key []string, val float32) { r.IncrCounterWithLabels(key, val, nil) }

// IncrCounterWithLabels counts.
func (r *raftSeries) IncrCounterWithLabels(key []string, val float32, labels []metrics.Label) {
	r.update(key, labels, prometheus.CounterValue, func(s *series) { s.sum += float64(val) })
}

// AddSample adds to a sum and a count.
func (r *raftSeries) AddSample(key []string, val float32) { r.AddSampleWithLabels(key, val, nil) }

// AddSampleWithLabels adds to a sum and a count.
func (r *raftSeries) AddSampleWithLabels(key []string, val float32, labels []metrics.Label) {
	r.update(key, labels, prometheus.UntypedValue, func(s *series) { s.sum += float64(val); s.count++ })
}
