package web

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser opens a window of the given width. Its pictures are kept with the test's artifacts.
type browser struct {
	t   *testing.T
	ctx context.Context
	url string
}

func open(t *testing.T, srv *httptest.Server, width int64, more ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	flags := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-quic", true))
	flags = append(flags, more...)
	ctx, stop := chromedp.NewExecAllocator(ctx, flags...)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		end()
		stop() // waits for the browser's end
		cancel()
	})
	b := &browser{t, ctx, srv.URL}
	b.do("open window", chromedp.EmulateViewport(width, 900))
	return b
}

func (b *browser) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

func (b *browser) visit(path string) {
	b.t.Helper()
	b.do("visit "+path, chromedp.Navigate(b.url+path), chromedp.WaitReady(chromedp.CSS("main")))
}

// await waits until an expression of the page is true.
func (b *browser) await(expression string) {
	b.t.Helper()
	b.do("await "+expression, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(20*time.Second)))
}

// arrive waits until an expression is true of the page that is on its way: while one page gives way to the next there is
// none to ask.
func (b *browser) arrive(expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		there, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		if err == nil && there {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: %v", expression, err)
		}
	}
}

func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

func (b *browser) picture(name string) {
	b.t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatalf("take picture: %v", err)
	}
	if err := os.WriteFile(filepath.Join(b.t.ArtifactDir(), name+".png"), png, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

const liveBadge = `document.getElementById("live").textContent === "live"`

// Pages follow what happens by the stream of events, without being loaded anew, and leave the reader where he was.
func TestBrowserFollowsEvents(t *testing.T) {
	w := newWorld()
	srv, s := serve(t, w)
	b := open(t, srv, 1280)
	b.visit("/")
	b.await(liveBadge)
	b.picture("overview")
	b.visit("/jobs/pagerank")
	b.await(liveBadge)
	b.picture("job")
	if n := eval[int](b, `document.querySelectorAll("svg.chart rect.all").length`); n != chartSteps {
		t.Errorf("%d bars, want %d", n, chartSteps)
	}
	eval[int](b, `window.same = true; document.querySelector('main a[href$="_000001"]').focus(); 1`)
	w.advance("groom")
	b.await(`document.querySelector("main").textContent.includes("42, epoch 2")`)
	if !eval[bool](b, `window.same === true && document.activeElement.getAttribute("href").endsWith("_000001")`) {
		t.Error("the page was loaded anew, or the focus is gone")
	}
	s.Close() // the process goes
	b.await(`document.getElementById("live").textContent !== "live"`)
}

// The log page appends what a task writes, and says when it has ended.
func TestBrowserFollowsLogs(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	b := open(t, srv, 1280)
	b.visit("/tasks/" + string(jobID.Task(0)) + "/logs")
	b.await(liveBadge)
	w.write("stdout", "superstep 7 <i>done</i>\n", false)
	b.await(`document.querySelector("[data-stream=stdout] pre").textContent.endsWith("superstep 7 <i>done</i>\n")`)
	if got := eval[string](b, `document.querySelector("[data-stream=stdout] pre").textContent`); strings.Count(got, "loaded 1,218") != 1 || strings.Count(got, "superstep 7") != 1 {
		t.Errorf("stdout shows %q", got)
	}
	b.picture("logs")
	w.write("stdout", "bye\n", true)
	w.write("stderr", "", true)
	b.await(`document.getElementById("live").textContent === "ended" && document.querySelectorAll(".end:not([hidden])").length === 2`)
}

// Dark is the system's choice or the reader's; his is kept, and applied before the first paint.
func TestBrowserDarkMode(t *testing.T) {
	srv, _ := serve(t, newWorld())
	b := open(t, srv, 1280)
	const paper = `getComputedStyle(document.body).backgroundColor`
	b.visit("/")
	light := eval[string](b, paper)
	b.click("#theme")
	dark := eval[string](b, paper)
	if dark == light {
		t.Fatalf("dark is as light: %s", dark)
	}
	for _, path := range []string{"/jobs/pagerank", "/recoveries"} {
		b.visit(path)
		if got := eval[string](b, paper); got != dark {
			t.Errorf("%s is %s, want %s: the choice was not kept", path, got, dark)
		}
		b.picture("dark" + strings.ReplaceAll(path, "/", "-"))
	}
	b.visit("/")
	b.picture("dark")
	b.click("#theme")
	if got := eval[string](b, paper); got != light {
		t.Errorf("light is %s, want %s", got, light)
	}
}

// No page is wider than a narrow window, and none breaks a rule that it tells the browser.
func TestBrowserNarrowWindow(t *testing.T) {
	srv, _ := serve(t, newWorld())
	b := open(t, srv, 390)
	for name, c := range shownPages {
		b.visit(c.path)
		if wide := eval[int](b, `document.documentElement.scrollWidth`); wide > 390 {
			t.Errorf("%s is %d wide", name, wide)
		}
		if n := eval[int](b, `document.querySelectorAll("h1").length`); n != 1 {
			t.Errorf("%s has %d headings", name, n)
		}
		b.picture("narrow-" + name)
	}
	b.visit("/login")
	b.picture("narrow-login")
}

// The way of a person: look, log in, stop.
func TestBrowserLoginAndStop(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	b := open(t, srv, 1280)
	b.visit("/tasks/" + string(jobID.Task(0)))
	b.click(`a[href^="/login"]`)
	b.do("log in", chromedp.SendKeys(chromedp.CSS("input[name=token]"), token+"\r"), chromedp.WaitReady(chromedp.CSS(`form[action$="/stop"]`)))
	b.picture("task")
	eval[int](b, `window.confirm = () => true; window.before = true; 1`)
	b.click(`form[action$="/stop"] button`)
	for deadline := time.Now().Add(10 * time.Second); ; {
		w.mu.Lock()
		n := len(w.acts)
		w.mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing was stopped")
		}
		b.do("look again", chromedp.WaitReady(chromedp.CSS("main")))
	}
	// The form leads back to its page; a visit before that would be cut off by it.
	b.arrive(`window.before === undefined && document.readyState === "complete"`)
	b.visit("/journal")
	b.picture("journal")
	b.visit("/journal/77?of=master")
	b.picture("entry")
	b.visit("/state")
	b.picture("state")
	b.visit("/jobs/nothing")
	b.picture("problem")
}
