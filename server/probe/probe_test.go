package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"groom/api"
	"groom/clock"
)

func run(ctx context.Context, argv, env []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = env
	return cmd
}

func TestAsk(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/up":
		case "/moved":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case "/hangs":
			<-r.Context().Done()
		default:
			http.Error(w, "the pool is empty", http.StatusServiceUnavailable)
		}
	}))
	defer web.Close()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(web.URL, "http://"))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	task := Task{Env: []string{"PORT=" + port, "MOOD=well"}, Command: run}
	for _, c := range []struct {
		name  string
		probe api.Probe
		want  string // in the error; "" is well
	}{
		{"a page that is up", api.Probe{HTTP: web.URL + "/up"}, ""},
		{"the port is a variable of the task", api.Probe{HTTP: "http://127.0.0.1:$PORT/up"}, ""},
		{"a redirect is an answer, and is not followed", api.Probe{HTTP: web.URL + "/moved"}, ""},
		{"a page that is down tells why", api.Probe{HTTP: web.URL + "/down"}, "503 Service Unavailable: the pool is empty"},
		{"a page that hangs", api.Probe{HTTP: web.URL + "/hangs", Timeout: api.Duration(50 * time.Millisecond)}, "no answer in 50ms"},
		{"nobody listens", api.Probe{HTTP: "http://" + nobody}, "refused"},
		{"a port that is open", api.Probe{TCP: "127.0.0.1:${PORT}"}, ""},
		{"a port that is closed", api.Probe{TCP: nobody}, "refused"},
		{"a command that succeeds", api.Probe{Exec: []string{"sh", "-c", `test "$MOOD" = well`}}, ""},
		{"a command that fails tells why", api.Probe{Exec: []string{"sh", "-c", "echo no luck; exit 3"}}, "sh exited with code 3: no luck"},
		{"a command that hangs", api.Probe{Exec: []string{"sleep", "60"}, Timeout: api.Duration(50 * time.Millisecond)}, "no answer in 50ms"},
		{"a command that is not there", api.Probe{Exec: []string{"/no/such/probe"}}, "no such file"},
		{"a command that talks too much", api.Probe{Exec: []string{"sh", "-c", "yes | head -c 100000; echo; echo at last; exit 1"}}, "at last"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.probe.Timeout == 0 {
				c.probe.Timeout = api.Duration(10 * time.Second)
			}
			err := Ask(t.Context(), c.probe, task)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && len(err.Error()) > told+100 {
				t.Errorf("%d bytes of words", len(err.Error()))
			}
		})
	}
}

func TestWatch(t *testing.T) {
	p := api.Probe{TCP: "x", Period: api.Duration(time.Millisecond), Timeout: api.Duration(10 * time.Second), Failures: 3}
	for _, c := range []struct {
		name    string
		answers string // f fails, w is well; the last goes on
		grace   time.Duration
		until   int // probes after which the watch is ended, 0 when it ends by itself
		asked   int
		why     string
	}{
		{name: "three failures in a row", answers: "wfff", asked: 4, why: "3 probes in a row failed"},
		{name: "a success between begins anew", answers: "wffwfff", asked: 7, why: "3 probes in a row failed"},
		{name: "failures in the grace do not count", answers: "f", grace: time.Hour, until: 50},
		{name: "the first success ends the grace", answers: "fwfff", grace: time.Hour, asked: 5, why: "3 probes in a row failed"},
		{name: "well for as long as it is watched", answers: "w", until: 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var asked atomic.Int32
			p := p
			p.Exec, p.Grace = []string{"probe"}, api.Duration(c.grace)
			task := Task{Command: func(ctx context.Context, _, _ []string) *exec.Cmd {
				n := int(asked.Add(1))
				if n == c.until {
					cancel()
				}
				if c.answers[min(n, len(c.answers))-1] == 'w' {
					return exec.CommandContext(ctx, "true")
				}
				return exec.CommandContext(ctx, "false")
			}}
			var last State
			why := Watch(ctx, p, task, clock.Boot(), func(s State) { last = s })
			if !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
				t.Errorf("why %q, want %q", why, c.why)
			}
			if c.asked > 0 && (int(asked.Load()) != c.asked || last.OK || last.Failures != 3) {
				t.Errorf("asked %d times, want %d; %+v", asked.Load(), c.asked, last)
			}
		})
	}
}

// A groom that was stopped in the middle of a probe does not hold the silence against the task.
func TestProbeThatTookLongerThanItMay(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := api.Probe{Exec: []string{"probe"}, Period: api.Duration(time.Millisecond), Timeout: api.Duration(time.Nanosecond), Failures: 1}
	task := Task{Command: func(context.Context, []string, []string) *exec.Cmd {
		time.Sleep(1100 * time.Millisecond) // stands for the time in which nothing ran
		return exec.CommandContext(ctx, "false")
	}}
	var seen State
	if why := Watch(ctx, p, task, clock.Boot(), func(s State) { seen = s; cancel() }); why != "" || seen.Failures != 0 || seen.OK {
		t.Errorf("%q, %+v", why, seen)
	}
}
