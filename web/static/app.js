// Everything works without this file. With it, pages follow the one event stream and logs are appended to as they grow.
"use strict";

const root = document.documentElement;
const live = document.getElementById("live");

function tell(badge, text, state) {
  badge.hidden = false;
  badge.textContent = text;
  badge.dataset.state = state;
}

// The theme is kept in the browser; theme.js applies it before the first paint.
const theme = document.getElementById("theme");
const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const label = () => (theme.textContent = isDark() ? "light" : "dark");
label();
theme.hidden = false;
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  label();
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {} // a browser that keeps nothing shows it until the page is left
});

// What changes something asks first.
document.addEventListener("submit", (e) => {
  const words = e.submitter && e.submitter.dataset.confirm;
  if (words && !confirm(words)) e.preventDefault();
});

// swap puts a new main part in place of the old one, and leaves the reader where he was: what was open, what was scrolled
// and what had the focus, if it is still there.
function swap(main, next) {
  const open = new Set([...main.querySelectorAll("details[open] > summary")].map((s) => s.textContent));
  for (const s of next.querySelectorAll("details > summary")) if (open.has(s.textContent)) s.parentElement.open = true;
  const scrolled = (m) => m.querySelectorAll(".wide, .story, pre");
  const stops = (m) => [...m.querySelectorAll("a, button, summary, input, [tabindex]")];
  const was = [...scrolled(main)].map((e) => [e.scrollLeft, e.scrollTop]);
  const at = stops(main).indexOf(document.activeElement);
  const label = at < 0 ? "" : document.activeElement.outerHTML.slice(0, 60);
  main.replaceWith(next);
  scrolled(next).forEach((e, i) => i < was.length && ([e.scrollLeft, e.scrollTop] = was[i]));
  const again = at < 0 ? null : stops(next)[at];
  if (again && again.outerHTML.slice(0, 60) === label) again.focus({ preventScroll: true });
}

// editing says whether somebody has begun to fill in a form.
const editing = (main) => [...main.querySelectorAll("input")].some((i) => i.value !== i.defaultValue);

// refresh fetches the page again and puts its main part in place of this one, but not while
// somebody marks text in it or fills in a form.
let refreshing = false;
let again = false;
async function refresh() {
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  try {
    const resp = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!resp.ok) return; // what is shown is better than an error
    const next = new DOMParser().parseFromString(await resp.text(), "text/html");
    const main = document.getElementById("main");
    if (!String(getSelection()) && !editing(main)) swap(main, next.getElementById("main"));
    document.title = next.title;
  } catch {
    // offline: the stream says so, and comes back by itself
  } finally {
    refreshing = false;
    if (again) {
      again = false;
      soon();
    }
  }
}

let timer = 0;
function soon() {
  if (!timer) timer = setTimeout(() => { timer = 0; refresh(); }, 250);
}

// One stream a page. The browser reconnects by itself and says what it saw last; when it was turned away (the process
// is starting, or too many listen) that is up to this page.
function connect(url, events, opened, after = "") {
  let stream;
  let last = after;
  const open = () => {
    stream = new EventSource(last ? url + (url.includes("?") ? "&" : "?") + "after=" + encodeURIComponent(last) : url);
    stream.addEventListener("open", () => {
      tell(live, "live", "ok");
      opened();
    });
    stream.addEventListener("error", () => {
      const gone = stream.readyState === EventSource.CLOSED;
      tell(live, gone ? "offline" : "reconnecting", "bad");
      if (gone) setTimeout(open, 2000);
    });
    for (const [name, f] of Object.entries(events)) {
      stream.addEventListener(name, (e) => {
        last = e.lastEventId;
        f(e, stream);
      });
    }
  };
  open();
  addEventListener("pagehide", () => stream.close());
  addEventListener("pageshow", (e) => e.persisted && open());
}

function listen() {
  let first = true;
  connect("/events", { entry: soon, reset: soon }, () => {
    if (!first) soon(); // what happened meanwhile
    first = false;
  });
  setInterval(() => document.visibilityState === "visible" && soon(), 30000); // times are relative
}

// Logs grow at their end; who has scrolled up is left there.
function followLogs(logs) {
  for (const pre of logs.querySelectorAll("pre")) pre.scrollTop = pre.scrollHeight;
  if (!logs.dataset.follow) return;
  // The start is in the address; a reconnect of ours replaces it.
  const [url, after] = logs.dataset.follow.split("&after=");
  const section = (stream) => logs.querySelector(`[data-stream="${stream}"]`);
  const chunk = (e) => {
    const c = JSON.parse(e.data);
    const pre = section(c.stream).querySelector("pre");
    const bottom = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 4;
    if (c.gap) pre.append(`\n[${c.gap} bytes are not kept]\n`);
    pre.append(c.text);
    if (bottom) pre.scrollTop = pre.scrollHeight;
    if (c.end) section(c.stream).querySelector(".end").hidden = false;
  };
  const end = (_, stream) => {
    stream.close();
    tell(live, "ended", "");
  };
  connect(url, { chunk, end }, () => {}, after);
}

// A page of the past moves to another moment in its place: with the slider, by steps, or by itself while it plays.
function travel() {
  const past = document.getElementById("past");
  const slider = past.querySelector("input[type=range]");
  const shown = past.querySelector("output");
  const button = document.getElementById("play");
  const parts = (p) => p.querySelectorAll("[data-part]");
  const at = () => Number(past.dataset.index);
  let playing = 0;
  let dragging = 0; // the timer of a slider that moves
  let going = false;
  let wanted = 0;
  // show takes over what the server says of a moment. The slider stays, since somebody may hold it.
  const show = (page) => {
    const next = page.getElementById("past");
    const step = past.contains(document.activeElement) && document.activeElement.dataset.step;
    swap(document.getElementById("main"), page.getElementById("main"));
    const news = [...parts(next)];
    parts(past).forEach((part, i) => part.replaceWith(news[i]));
    Object.assign(past.dataset, next.dataset);
    slider.min = past.dataset.first;
    slider.max = past.dataset.last;
    if (!dragging && !wanted) shown.textContent = slider.value = at();
    if (step) past.querySelector(`[data-step="${step}"]`)?.focus();
    document.title = page.title;
  };
  const go = async (index) => {
    index = Math.min(Math.max(index, Number(past.dataset.first)), Number(past.dataset.last));
    if (going) {
      wanted = index;
      return;
    }
    going = true;
    try {
      const url = new URL(location.href);
      url.searchParams.set("of", past.dataset.of);
      url.searchParams.set("at", index);
      const resp = await fetch(url, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await resp.text(), "text/html");
      if (!page.getElementById("past")) {
        location.href = url; // the history that is kept has moved on: the page there says so
        return;
      }
      show(page);
      history.replaceState(null, "", url);
    } catch {
      stop(); // offline: what is shown stays
    } finally {
      going = false;
      if (wanted) {
        const index = wanted;
        wanted = 0;
        go(index);
      }
    }
  };
  const stop = () => {
    clearInterval(playing);
    playing = 0;
    button.textContent = "play";
  };
  const play = () => {
    if (playing) {
      stop();
      return;
    }
    button.textContent = "pause";
    playing = setInterval(() => {
      if (at() >= Number(past.dataset.last)) stop();
      else if (!going) go(at() + 1);
    }, 600);
  };
  slider.addEventListener("input", () => {
    shown.textContent = slider.value;
    clearTimeout(dragging);
    dragging = setTimeout(() => {
      dragging = 0;
      go(Number(slider.value));
    }, 150);
  });
  past.addEventListener("click", (e) => {
    const step = e.target.dataset.step;
    if (!step || e.ctrlKey || e.metaKey || e.shiftKey) return;
    e.preventDefault();
    go(at() + (step === "on" ? 1 : -1));
  });
  button.hidden = past.querySelector(".keys").hidden = false;
  button.addEventListener("click", play);
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.altKey || e.metaKey || e.target.matches?.("input:not([type=range]), textarea, select")) return;
    if (e.key === "]") go(at() + 1);
    if (e.key === "[") go(at() - 1);
    if (e.key === "p") play();
  });
}

// A slider shows where it stands, also on a page that does not travel.
document.addEventListener("input", (e) => {
  if (e.target.matches("main input[type=range]")) e.target.parentElement.querySelector("output").textContent = e.target.value;
});

if ("past" in document.body.dataset) travel();
else switch (document.body.dataset.page) {
  case "logs":
    followLogs(document.getElementById("logs"));
    break;
  case "starting": // the server says when to look again
  case "login":
  case "problem":
  case "entry": // an entry never changes, nor do the others
  case "diff":
  case "why":
    break;
  default:
    listen();
}
