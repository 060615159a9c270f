// Before the first paint: the choice that was kept, else the system's.
"use strict";
try {
  const kept = localStorage.getItem("theme");
  if (kept) document.documentElement.dataset.theme = kept;
} catch {} // a browser that keeps nothing
