package master

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groom/api"
	"groom/wire"
)

// A time in which the master itself slept counts against nobody.
func TestLeaseForgivesTheMastersOwnSleep(t *testing.T) {
	c := newContacts()
	c.expect("north")
	c.by["north"].seen -= 20 * time.Second
	if diff := cmp.Diff([]string{"north"}, c.silent(15*time.Second)); diff != "" {
		t.Error(diff)
	}
	c.forgive(10 * time.Second)
	if got := c.silent(15 * time.Second); len(got) != 0 {
		t.Errorf("lost after a sleep of the master: %v", got)
	}
}

// Only a groom that registered this start of it with this process is heard; the others are asked to register.
func TestHeardOnlyAfterRegistration(t *testing.T) {
	c := newContacts()
	s := api.GroomStatus{ID: "north", Incarnation: 1}
	if _, ok := c.heard(s); ok {
		t.Error("a stranger is heard")
	}
	c.expect("north")
	if _, ok := c.heard(s); ok || len(c.present()) != 0 {
		t.Error("a groom of an earlier life of the master is heard without its address and token")
	}
	c.registered(s, new(wire.Client), true)
	if _, ok := c.heard(s); !ok || len(c.present()) != 1 {
		t.Error("a registered groom is not heard")
	}
	s.Incarnation = 2
	if _, ok := c.heard(s); ok {
		t.Error("a groom that started again is heard before it registered")
	}
}

func TestHealthy(t *testing.T) {
	for _, c := range []struct {
		name   string
		status api.GroomStatus
		want   bool
	}{
		{"ok", api.GroomStatus{Health: api.HealthOK}, true},
		{"one directory of two failed", api.GroomStatus{Health: api.HealthDegraded, Dirs: []api.DirStatus{{}, {OK: true}}}, true},
		{"no directory is left", api.GroomStatus{Health: api.HealthDegraded, Dirs: []api.DirStatus{{}}}, false},
		{"the disk is full", api.GroomStatus{Health: api.HealthNoSpace}, false},
		{"safe mode", api.GroomStatus{Health: api.HealthSafeMode}, false},
	} {
		if ok, why := healthy(c.status); ok != c.want || ok != (why == "") {
			t.Errorf("%s: %v, %q", c.name, ok, why)
		}
	}
}
