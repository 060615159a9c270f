package journal

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	f := newFixture(t)
	reg := prometheus.NewRegistry()
	for range 2 { // the second process-wide call changes nothing
		if err := Metrics(reg); err != nil {
			t.Fatal(err)
		}
	}
	j, _ := f.open()
	if err := reg.Register(j); err != nil {
		t.Fatal(err)
	}
	fill(t, j, 10)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]float64{}
	for _, fam := range families {
		for _, m := range fam.GetMetric() {
			name := fam.GetName()
			for _, l := range m.GetLabel() {
				name += "," + l.GetName() + "=" + l.GetValue()
			}
			have[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() +
				float64(m.GetHistogram().GetSampleCount()) + float64(m.GetSummary().GetSampleCount())
		}
	}
	for name, least := range map[string]float64{
		"raft_apply":                                  10,
		"raft_commitTime":                             10,
		"raft_boltdb_storeLogs":                       1,
		"raft_state_leader":                           1,
		"groom_journal_commit_seconds,of=test":        10,
		"groom_journal_index,of=test":                 10,
		"groom_journal_records,of=test":               10,
		"groom_journal_bytes,of=test":                 1,
		"groom_journal_health,health=ok,of=test":      1,
		"groom_journal_open_seconds,of=test":          0.0001,
		"groom_journal_replayed,of=test":              0,
		"groom_journal_snapshot_index,of=test":        0,
		"groom_journal_health,health=nospace,of=test": 0,
	} {
		if v, ok := have[name]; !ok || v < least {
			t.Errorf("%s is %v (there: %v), want at least %v", name, v, ok, least)
		}
	}
}
