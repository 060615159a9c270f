package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// host is a directory that looks like the hierarchies of a host, as far as they are read.
type host struct {
	t    *testing.T
	root string
}

func (h host) file(name, text string) host {
	h.t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
	return h
}

// group is a v2 group: its controllers, those that it hands on, and whether a process is in it.
func (h host) group(dir, controllers, handedOn string, populated bool) host {
	procs := ""
	if populated {
		procs = "17\n"
	}
	return h.file(dir+"/cgroup.type", "domain\n").file(dir+"/cgroup.procs", procs).
		file(dir+"/cgroup.controllers", controllers+"\n").file(dir+"/cgroup.subtree_control", handedOn+"\n")
}

func TestLook(t *testing.T) {
	const all = "cpuset cpu io memory pids"
	const v2 = "30 23 0:26 / ROOT/v2 rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	const v1 = "31 23 0:27 / ROOT/memory rw - cgroup cgroup rw,memory\n32 23 0:28 / ROOT/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n33 23 0:29 / ROOT/pids rw - cgroup cgroup rw,pids\n"
	for _, c := range []struct {
		name    string
		mounts  string
		self    string
		make    func(h host)
		unified string
		want    string // version of memory, cpu, pids
		why     string // contained in the words
	}{
		{"nothing mounted", "22 1 8:1 / / rw - ext4 /dev/sda rw\n", "0::/\n", func(host) {}, "", "000", "the unified hierarchy is not mounted"},
		{"hybrid: v2 kills, v1 limits", v2 + v1, "3:pids:/\n2:cpu,cpuacct:/\n1:memory:/a/b\n0::/\n", func(h host) {
			h.file("v2/cgroup.procs", "1\n").file("v2/cgroup.controllers", "hugetlb\n").file("v2/cgroup.subtree_control", "")
			h.file("memory/a/b/cgroup.procs", "").file("cpu,cpuacct/cgroup.procs", "").file("pids/cgroup.procs", "")
		}, "v2", "111", "enforced by cgroup v1 below ROOT/memory/a/b"},
		{"v2 alone, delegated with a leaf", v2, "0::/system.slice/groom.service/agent\n", func(h host) {
			h.file("v2/cgroup.procs", "").group("v2/system.slice/groom.service", all, "", false).group("v2/system.slice/groom.service/agent", all, "", true)
		}, "v2/system.slice/groom.service", "222", "enforced by cgroup v2"},
		{"v2 alone, all handed on already", v2, "0::/groom.service\n", func(h host) {
			h.file("v2/cgroup.procs", "").group("v2/groom.service", all, "cpu memory pids", true)
		}, "v2/groom.service", "222", "enforced by cgroup v2"},
		{"v2 alone, started by hand: groups at the top", v2, "0::/user.slice/session.scope\n", func(h host) {
			h.file("v2/cgroup.procs", "1\n").file("v2/cgroup.controllers", all).file("v2/cgroup.subtree_control", all)
			h.group("v2/user.slice/session.scope", all, "", true)
		}, "v2", "222", "enforced by cgroup v2"},
		{"v2 alone, in a container: killed there, no limits", v2, "0::/\n", func(h host) {
			h.group("v2", all, "", true)
		}, "v2", "000", "DelegateSubgroup=agent"},
		{"a controller is missing", v2, "0::/x\n", func(h host) {
			h.file("v2/cgroup.procs", "").group("v2/x", "memory pids", "", false)
		}, "v2/x", "202", "no hierarchy has the controller"},
		{"mounted from below, as a container sees it", strings.Replace(v2, " / ROOT", " /docker/abc ROOT", 1), "0::/docker/abc/x\n", func(h host) {
			h.file("v2/cgroup.procs", "").group("v2/x", all, "", false)
		}, "v2/x", "222", "enforced"},
		{"its group is outside of what is mounted", strings.Replace(v2, " / ROOT", " /docker/abc ROOT", 1), "0::/elsewhere\n", func(h host) {
			h.group("v2", all, "", false)
		}, "v2", "222", "enforced"},
		{"a blank in the path", strings.Replace(v2, "ROOT/v2", `ROOT/v\0402`, 1), "0::/\n", func(h host) { h.group("v 2", all, "", false) }, "v 2", "222", "enforced"},
		{"lines that are torn", "30 23\n" + v2, "0\nx\n0::/\n", func(h host) { h.group("v2", all, "", false) }, "v2", "222", "enforced"},
		{"v1 alone", v1, "1:memory:/\n2:cpu,cpuacct:/\n3:pids:/\n", func(h host) {
			h.file("memory/cgroup.procs", "").file("cpu,cpuacct/cgroup.procs", "").file("pids/cgroup.procs", "")
		}, "", "111", "is found by its token"},
		{"not delegated", v2, "0::/\n", func(h host) {}, "", "000", "not delegated to this user"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host{t, t.TempDir()}
			c.make(h)
			f := look([]byte(strings.ReplaceAll(c.mounts, "ROOT", h.root)), []byte(c.self))
			unified, got := "", ""
			if f.Unified != "" {
				unified, _ = filepath.Rel(h.root, f.Unified)
			}
			for _, c := range f.Controllers {
				got += string(rune('0' + c.Version))
			}
			if diff := cmp.Diff([]string{c.unified, c.want}, []string{unified, got}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			words := strings.ReplaceAll(strings.Join(f.Words(), "\n"), h.root, "ROOT")
			if !strings.Contains(words, c.why) {
				t.Errorf("%q is not told in:\n%s", c.why, words)
			}
		})
	}
}

// Where everything is v2, a group is given its controllers from above, and its limits in the files of v2.
func TestLimitsOfV2(t *testing.T) {
	h := host{t, t.TempDir()}
	for _, dir := range []string{"v2", "v2/groom-x", "v2/groom-x/attempt"} {
		h.group(dir, "cpu memory pids", "", false)
		for _, name := range []string{"memory.max", "memory.swap.max", "cpu.max", "pids.max"} {
			h.file(dir+"/"+name, "")
		}
	}
	mounts := "30 23 0:26 / " + h.root + "/v2 rw - cgroup2 cgroup2 rw\n"
	p := &Parent{Facilities: look([]byte(mounts), []byte("0::/\n")), name: "groom-x"}
	p.Born = true
	g, unenforced := p.Make("attempt", Limits{Memory: 64 << 20, CPU: 1.5, Pids: 9})
	at := filepath.Join(h.root, "v2/groom-x/attempt") // not born there, since its pids are limited there
	if diff := cmp.Diff(Group{Unified: at, OOM: at + "/memory.events"}, g); diff != "" || len(unenforced) > 0 {
		t.Errorf("unenforced %q, (-want +got):\n%s", unenforced, diff)
	}
	// A file here is written over from its start, unlike the kernel's: of what was handed on, the last one shows.
	for name, want := range map[string]string{
		"groom-x/attempt/memory.max": "67108864", "groom-x/attempt/memory.swap.max": "0",
		"groom-x/attempt/cpu.max": "150000 100000", "groom-x/attempt/pids.max": "9",
		"groom-x/cgroup.subtree_control": "+pids", "cgroup.subtree_control": "+pids",
	} {
		b, err := os.ReadFile(filepath.Join(h.root, "v2", name))
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s holds %q, %v", name, b, err)
		}
	}
}

// The machine that runs the tests has control groups, in one version or the other.
func TestLookAtThisHost(t *testing.T) {
	f := Look()
	t.Log(strings.Join(f.Words(), "\n"))
	if f.Unified == "" || len(f.Controllers) != 3 {
		t.Errorf("%+v", f)
	}
}

func TestWithoutAnIDThereAreNoGroups(t *testing.T) {
	p := New("")
	g, unenforced := p.Make("attempt", Limits{Pids: 1})
	if !g.None() || len(unenforced) != 1 || len(p.Leftovers()) != 0 || !p.Of("attempt").None() {
		t.Errorf("%+v, %v", g, unenforced)
	}
	if err := g.End(t.Context(), 0); err != nil {
		t.Error(err)
	}
}
