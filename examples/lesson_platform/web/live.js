// Keeps the number of views on a lesson page up to date, by server-sent events.
// Without it, or without an answer, the page shows the number that it came with.
"use strict";

const shown = document.querySelector("[data-views]");
let events = null;

function listen() {
  events = new EventSource(shown.dataset.views);
  events.addEventListener("views", (event) => {
    shown.textContent = event.data === "1" ? "1 view" : `${event.data} views`;
  });
}

if (shown && window.EventSource) {
  listen();
  // A page that is left needs no connection: a browser has six of them for one server.
  window.addEventListener("pagehide", () => events.close());
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) listen();
  });
}
