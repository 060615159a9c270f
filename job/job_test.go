package job

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groom/api"
)

// least is a job file that is complete; cases add to it.
const least = "name: test\ntype: plain\ntasks: 1\ncommand: [sleep, \"1\"]\n"

// Each mistake is told where it stands, with what was expected there.
func TestMistakes(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"empty", "", "job.yaml:1:1: is empty"},
		{"comments alone", "# nothing\n\n", "job.yaml:1:1: is empty"},
		{"no fields", "42\n", "job.yaml:1:1: want a job: name, type, tasks, command and so on, found the number 42"},
		{"a list", "- a\n", "job.yaml:1:1: want a job: name, type, tasks, command and so on, found a list"},
		{"no YAML", "name: [\n", "job.yaml:1:"},
		{"no YAML, further down", "name: test\ntasks: 1: 2\n", "job.yaml:2:1: mapping values are not allowed"},
		{"a tab", "name: test\nstop:\n\tgrace: 1s\n", "job.yaml:3:1: found character that cannot start any token"},
		{"two documents", least + "---\nname: other\n", "job.yaml:5:1: a second document"},
		{"a broken second document", least + "---\n[\n", "job.yaml:"},
		{"an unknown field", least + "taks: 3\n", `job.yaml:5:1: unknown field "taks"; did you mean "tasks"?`},
		{"an unknown field like none", least + "colour: red\n", `job.yaml:5:1: unknown field "colour"; known are name, type, tasks`},
		{"an unknown field within another", least + "stop: {signal: SIGTERM, grade: 1s}\n", `job.yaml:5:25: stop: unknown field "grade"; did you mean "grace"?`},
		{"a field twice", least + "name: again\n", `job.yaml:5:1: "name" stands on line 1 already`},
		{"a variable twice", least + "env:\n  A: b\n  A: c\n", `job.yaml:7:3: env: "A" stands on line 6 already`},
		{"a number for a text", strings.Replace(least, "\"1\"", "1", 1), `job.yaml:4:18: command[1]: want a text, found the number 1; put it in quotes`},
		{"true for a text", least + "env: {A: true}\n", `job.yaml:5:10: env.A: want a text, found true; put it in quotes`},
		{"nothing for a text", least + "output:\n", `job.yaml:5:8: output: want a text, found nothing`},
		{"a list for a text", least + "output: [a]\n", `job.yaml:5:9: output: want a text, found a list`},
		{"a text for a number", strings.Replace(least, "tasks: 1", "tasks: many", 1), `job.yaml:3:8: tasks: want a whole number, found "many"`},
		{"a fraction for a number", strings.Replace(least, "tasks: 1", "tasks: 1.5", 1), `job.yaml:3:8: tasks: want a whole number, found the number 1.5`},
		{"a text for true", least + "ping: {required: \"yes\"}\n", `job.yaml:5:18: ping.required: want true or false, found "yes"`},
		{"a number for a duration", least + "stop: {grace: 10}\n", `job.yaml:5:15: stop.grace: want a duration such as "10s", found the number 10`},
		{"no duration", least + "stop: {grace: soon}\n", `job.yaml:5:15: stop.grace: duration "soon": want a number with a unit`},
		{"a text for a list", strings.Replace(least, "[sleep, \"1\"]", "sleep 1", 1), `job.yaml:4:10: command: want a list, found "sleep 1"`},
		{"a list for fields", least + "stop: [SIGTERM]\n", `job.yaml:5:7: stop: want fields, found a list`},
		{"a list for variables", least + "env: [A=b]\n", `job.yaml:5:6: env: want names with their values, found a list`},
		{"an alias", "name: &n test\ntype: plain\ntasks: 1\ncommand: [*n]\n", `job.yaml:4:11: command[0]: aliases are not taken here`},
		{"a merge", least + "stop:\n  <<: {grace: 1s}\n", `job.yaml:6:3: stop: want a name`},
		{"0 tasks", strings.Replace(least, "tasks: 1", "tasks: 0", 1), `job.yaml:3:8: tasks: want a number from 1 to 10000, found 0`},
		{"no tasks", strings.Replace(least, "tasks: 1\n", "", 1), `tasks: want a number from 1 to 10000, found 0`},
		{"too many tasks", strings.Replace(least, "tasks: 1", "tasks: 10001", 1), `tasks: want a number from 1 to 10000, found 10001`},
		{"no name", strings.Replace(least, "name: test\n", "", 1), `name: want up to 63 letters`},
		{"a name with a slash", strings.Replace(least, "test", "a/b", 1), `job.yaml:1:7: name: want up to 63 letters`},
		{"an unknown type", strings.Replace(least, "plain", "batch", 1), `job.yaml:2:7: type: want "plain" or "bsp", found "batch"`},
		{"no command", strings.Replace(least, "[sleep, \"1\"]", "[]", 1), `job.yaml:4:10: command: want a program and its arguments, found none`},
		{"a zero byte in an argument", strings.Replace(least, `"1"`, `"a\0b"`, 1), `job.yaml:4:18: command[1]: holds a zero byte`},
		{"a zero byte in a variable", least + "env: {A: \"a\\0b\"}\n", `job.yaml:5:10: env.A: holds a zero byte`},
		{"no name of a variable", least + "env: {A-B: c}\n", `job.yaml:5:12: env.A-B: is not a name of a variable`},
		{"groom's own variable", least + "env: {GROOM_TOKEN: c}\n", `job.yaml:5:20: env.GROOM_TOKEN: variables that begin with GROOM_ are groom's own`},
		{"an unknown signal", least + "stop: {signal: SIGBOOM}\n", `job.yaml:5:16: stop.signal: want a signal such as SIGTERM, found "SIGBOOM"`},
		{"a negative grace", least + "stop: {grace: -1s}\n", `job.yaml:5:15: stop.grace: want a duration from 0s to 24h0m0s, found -1s`},
		{"a limit of 0", least + "restart: {limit: 0}\n", `job.yaml:5:18: restart.limit: want a number from 1 to 1000, found 0`},
		{"less than the backoff at most", least + "restart: {backoff: 1m, max_backoff: 1s}\n", `restart.max_backoff: want a duration from 1m0s to 24h0m0s, found 1s`},
		{"an unknown policy", least + "restart: {policy: sometimes}\n", `job.yaml:5:19: restart.policy: want "on-failure", "always" or "never", found "sometimes"`},
		{"a bsp job for ever", strings.Replace(least, "plain", "bsp", 1) + "restart: {policy: always}\n", `restart.policy: a bsp job ends when its peers are done`},
		{"an unknown end of proof", least + "restart: {unproven: maybe}\n", `restart.unproven: want "fail" or "restart", found "maybe"`},
		{"a dump without a signal", least + "ping: {dump: STACK}\n", `ping.dump: want a signal such as SIGQUIT, or "none", found "STACK"`},
		{"a probe of nothing", least + "probe: {period: 1s}\n", `job.yaml:5:8: probe: want exec, http or tcp, found none`},
		{"two ways to probe", least + "probe: {tcp: '127.0.0.1:1', exec: [true]}\n", `probe.exec[0]: want a text`},
		{"probes of two kinds", least + "probe: {tcp: '127.0.0.1:1', exec: [ls]}\n", `job.yaml:5:8: probe: want one of exec, http and tcp, found 2`},
		{"a probe of another host", least + "probe: {http: 'http://example.org/'}\n", `probe.http: want an address on loopback, found "http://example.org/"`},
		{"a probe of no port", least + "probe: {tcp: '127.0.0.1'}\n", `probe.tcp: want an address such as 127.0.0.1:8080, found "127.0.0.1"`},
		{"a probe without a pause", least + "probe: {tcp: '[::1]:80', period: 1ms}\n", `probe.period: want a duration from 100ms to 1h0m0s, found 1ms`},
		{"a umask that is none", least + "umask: '99'\n", `job.yaml:5:8: umask: want octal digits such as "0027", found "99"`},
		{"an unknown rlimit", least + "rlimits: {files: '1'}\n", `rlimits.files: is not a limit; known are as, core`},
		{"a soft limit above the hard one", least + "rlimits: {nofile: '10:5'}\n", `job.yaml:5:19: rlimits.nofile: want "soft" or "soft:hard"`},
		{"an oom score out of bounds", least + "oom_score: 2000\n", `oom_score: want a number from -1000 to 1000, found 2000`},
		{"memory for nothing", least + "resources: {memory: 100}\n", `resources.memory: want 1048576 bytes at least, found 100`},
		{"a negative core", least + "resources: {cpu: -1.5}\n", `resources.cpu: want a number of cores such as 0.5, found -1.5`},
		{"a core in words", least + "resources: {cpu: two}\n", `resources.cpu: want a number, found "two"`},
		{"pings too often", least + "ping: {period: 1ms}\n", `ping.period: want a duration from 10ms to 1h0m0s, found 1ms`},
		{"no missed ping", least + "ping: {missed: 0}\n", `ping.missed: want a number from 1 to 10000, found 0`},
		{"tiny logs", least + "logs: {max_size: 10}\n", `logs.max_size: want a number from 4096`},
		{"output of a plain job", least + "output: out\n", `job.yaml:5:9: output: only a bsp job has an output`},
		{"an unknown way", least + "on_groom_lost: panic\n", `job.yaml:5:16: on_groom_lost: want "wait" or "reschedule", found "panic"`},
		{"an artifact without a source", least + "artifacts: [{name: a}]\n", `job.yaml:5:13: artifacts[0].source: want the path of a file, found ""`},
		{"an artifact that is not there", least + "artifacts: [{source: nowhere.txt}]\n", `job.yaml:5:22: artifacts[0].source: open /somewhere/nowhere.txt: no such file`},
		{"an artifact elsewhere", least + "artifacts: [{source: /a, name: ../b, sha256: " + hash0 + "}]\n", `artifacts[0].name: want a name without a directory, found "../b"`},
		{"artifacts of one name", least + "artifacts: [{source: /a/x, sha256: " + hash0 + "}, {source: /b/x, sha256: " + hash0 + "}]\n", `artifacts[1].name: another artifact is named "x" already`},
		{"no checksum", least + "artifacts: [{source: /a, sha256: abc}]\n", `artifacts[0].sha256: want 64 hexadecimal digits in lower case, found "abc"`},
		{"decimal permissions", least + "artifacts: [{source: /a, mode: 755, sha256: " + hash0 + "}]\n", `artifacts[0].mode: want permission bits such as 0755, found 01363`},
		{"negative permissions", least + "artifacts: [{source: /a, mode: -1, sha256: " + hash0 + "}]\n", `artifacts[0].mode: want a whole number, found the number -1`},
		{"too large", "#" + strings.Repeat("x", MaxSize), "job.yaml:1:1: is over 1048576 bytes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("job.yaml", []byte(c.text), "/somewhere")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if m, ok := errors.AsType[*Mistake](err); !ok || m.Line < 1 || m.Column < 1 {
				t.Errorf("%#v is no mistake with a place", err)
			}
		})
	}
}

var hash0 = strings.Repeat("ab", 32)

// All mistakes of a file are told at once, in the order of its lines.
func TestMistakesTogether(t *testing.T) {
	_, err := Parse("job.yaml", []byte("name: a/b\ntype: x\ntasks: 0\ncommand: [sleep]\nstop: {signal: NO}\n"), "/")
	var lines []int
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		lines = append(lines, e.(*Mistake).Line)
	}
	if diff := cmp.Diff([]int{1, 2, 3, 5}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	got, err := Parse("job.yaml", []byte(least), "/")
	if err != nil {
		t.Fatal(err)
	}
	want := api.JobSpec{
		Name: "test", Type: api.Plain, Tasks: 1, Command: []string{"sleep", "1"},
		Stop: api.Stop{Signal: "SIGTERM", Grace: api.Duration(10 * time.Second)},
		Restart: api.Restart{
			Policy: api.RestartOnFailure, Limit: 3, Backoff: api.Duration(time.Second), MaxBackoff: api.Duration(time.Minute),
			Healthy: api.Duration(10 * time.Minute), Unproven: api.UnprovenFails,
		},
		Ping: api.Ping{Period: api.Duration(time.Second), Missed: 6, First: 10, Dump: "SIGQUIT"},
		Probe: api.Probe{
			Period: api.Duration(10 * time.Second), Timeout: api.Duration(2 * time.Second), Failures: 3, Grace: api.Duration(30 * time.Second),
		},
		Logs:        api.Logs{MaxSize: 10 << 20, MaxFiles: 5},
		Retention:   api.Retention{Keep: api.Duration(24 * time.Hour), KeepFailed: api.Duration(7 * 24 * time.Hour)},
		OnGroomLost: "wait",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if err := Validate(got); err != nil {
		t.Errorf("what a file says is refused over the wire: %v", err)
	}
	got, err = Parse("job.yaml", []byte(least+"restart: {policy: never}\nprobe: {http: 'http://127.0.0.1:80${GROOM_INDEX}/up'}\n"), "/")
	if err != nil || got.Restart.Limit != 1 || !got.Probe.On() {
		t.Errorf("what follows from a policy and a probe: %+v, %+v, %v", got.Restart, got.Probe, err)
	}
	got, err = Parse("job.yaml", []byte(strings.Replace(least, "plain", "bsp", 1)+"ping: {required: false}\n"), "/")
	if err != nil || !got.Ping.Required {
		t.Errorf("the peers of a bsp job have to ping: %v", err)
	}
}

// A zero that the file says is not a default.
func TestZerosAreMeant(t *testing.T) {
	got, err := Parse("job.yaml", []byte(least+"stop: {grace: 0s}\nrestart: {backoff: 0s}\nretention: {keep: 0s}\n"), "/")
	if err != nil {
		t.Fatal(err)
	}
	if got.Stop.Grace != 0 || got.Restart.Backoff != 0 || got.Retention.Keep != 0 {
		t.Errorf("grace %s, backoff %s, keep %s", got.Stop.Grace, got.Restart.Backoff, got.Retention.Keep)
	}
	if got.Stop.Signal != "SIGTERM" || got.Restart.Limit != 3 {
		t.Error("what stands beside a zero lost its default")
	}
}

// Relative paths are relative to the file, and checksums that it leaves out are computed.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "data.txt"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "job.yaml")
	text := "name: test\ntype: bsp\ntasks: 2\ncommand: [bin/prog, ./arg]\noutput: out\nshared_dir: /mnt\nartifacts: [{source: data.txt, mode: 0600}]\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir) // the path of the file itself may be relative
	got, err := Load("job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "bin/prog"), "./arg"}, got.Command); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
	if got.Output != filepath.Join(dir, "out") || got.SharedDir != "/mnt" {
		t.Errorf("output %s, shared directory %s", got.Output, got.SharedDir)
	}
	want := []api.Artifact{{
		Source: filepath.Join(dir, "data.txt"), Name: "data.txt", Mode: 0o600,
		SHA256: "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
	}}
	if diff := cmp.Diff(want, got.Artifacts); diff != "" {
		t.Errorf("artifacts (-want +got):\n%s", diff)
	}
	if _, err := Load(filepath.Join(dir, "nowhere.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := Load("/dev/zero"); err == nil || !strings.Contains(err.Error(), "is over") {
		t.Errorf("a file without an end: %v", err)
	}
}

// The hash names the spec: the same one for the same job, another for any other.
func TestHash(t *testing.T) {
	spec := func(more string) string {
		s, err := Parse("job.yaml", []byte(least+more), "/")
		if err != nil {
			t.Fatal(err)
		}
		hash, canonical, err := Hash(s)
		if err != nil || len(canonical) == 0 {
			t.Fatal(err)
		}
		return hash
	}
	const env = "env: {A: \"1\", B: \"2\", C: \"3\"}\n"
	if spec(env) != spec("env: {C: \"3\", B: \"2\", A: \"1\"}\n") {
		t.Error("the order of variables changes the hash")
	}
	if spec("") != spec("stop: {signal: SIGTERM}\n") {
		t.Error("a default that is written out changes the hash")
	}
	if spec("") == spec(env) || spec(env) == spec("env: {A: \"1\", B: \"2\", C: \"4\"}\n") {
		t.Error("another job has the same hash")
	}
	// The hash is on disk and in journals: it must not change with a build.
	if got, want := spec(""), "1cfd68c994fb848ed71f8c703b11c5070a90be4c55fea7dd16c079430a19364b"; got != want {
		t.Errorf("hash %s, was %s", got, want)
	}
}

func TestMask(t *testing.T) {
	spec := api.JobSpec{
		Env:    map[string]string{"DB_PASSWORD": "x", "api_token": "x", "PATH": "/bin"},
		Config: map[string]string{"secret": "x", "iterations": "30"},
	}
	got := Mask(spec)
	want := api.JobSpec{
		Env:    map[string]string{"DB_PASSWORD": "(hidden)", "api_token": "(hidden)", "PATH": "/bin"},
		Config: map[string]string{"secret": "(hidden)", "iterations": "30"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("masked (-want +got):\n%s", diff)
	}
	if spec.Env["DB_PASSWORD"] != "x" {
		t.Error("the spec itself was masked")
	}
	if got := Mask(api.JobSpec{}); got.Env != nil || got.Config != nil {
		t.Error("an empty spec gained something")
	}
}

// A spec that came over the wire is held to the rules of a file, and the same mistakes come in the same order.
func TestValidate(t *testing.T) {
	spec, err := Parse("job.yaml", []byte(least), "/")
	if err != nil {
		t.Fatal(err)
	}
	spec.Tasks, spec.Env = 0, map[string]string{"B-": "", "A-": "", "C-": ""}
	const want = "tasks: want a number from 1 to 10000, found 0\nenv.A-: is not a name of a variable\n" +
		"env.B-: is not a name of a variable\nenv.C-: is not a name of a variable"
	for range 20 {
		if err := Validate(spec); err == nil || err.Error() != want {
			t.Fatalf("got %v", err)
		}
	}
	spec.Tasks, spec.Env = 1, nil
	spec.Config = map[string]string{"big": strings.Repeat("x", MaxSize)}
	if err := Validate(spec); err == nil || !strings.Contains(err.Error(), "is over") {
		t.Errorf("a spec that is too large: %v", err)
	}
}

// docs/job.md names every field, and its examples are jobs.
func TestDocumentation(t *testing.T) {
	b, err := os.ReadFile("../docs/job.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	n := 0
	for rest := page; ; n++ {
		_, after, ok := strings.Cut(rest, "```yaml\n")
		if !ok {
			break
		}
		text, more, _ := strings.Cut(after, "```")
		if _, err := Parse(fmt.Sprintf("example %d", n+1), []byte(text), "/"); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
		rest = more
	}
	if n < 3 {
		t.Errorf("%d examples", n)
	}
	for _, field := range fields(api.JobSpec{}) {
		if !strings.Contains(page, "| `"+field+"` |") {
			t.Errorf("field %s is not in the table", field)
		}
	}
}

// Every job file in examples is one.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	for _, file := range files {
		if _, err := Load(file); err != nil {
			t.Error(err)
		}
	}
}
