package node

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groom/api"
)

// Later counts add up with earlier ones; what was counted before stays as it was.
func TestSum(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	all := []api.KindCount{{Kind: "a", Entries: 2, Bytes: 20, First: day(1), Last: day(2)}, {Kind: "b", Entries: 1, Bytes: 10, First: day(1), Last: day(1)}}
	got := sum(all, []api.KindCount{{Kind: "b", Entries: 3, Bytes: 30, First: day(3), Last: day(4)}, {Kind: "c", Entries: 1, Bytes: 5, First: day(4), Last: day(4)}})
	want := []api.KindCount{
		{Kind: "b", Entries: 4, Bytes: 40, First: day(1), Last: day(4)},
		{Kind: "a", Entries: 2, Bytes: 20, First: day(1), Last: day(2)},
		{Kind: "c", Entries: 1, Bytes: 5, First: day(4), Last: day(4)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if all[1].Entries != 1 {
		t.Error("the earlier counts changed")
	}
}
