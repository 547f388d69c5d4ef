// Sends keys to the session and shows what it answers. See web.py for the other side.
"use strict";

const RETRY_MS = 1000;
const LOST = "The session does not answer; it may be busy. Trying again.";
const GONE =
  "The session cannot be reached: its server has stopped, or another browser has it. " +
  "What was recorded is kept. Run the same command again, and open the address that it prints.";
let socket = null;
let finished = false;

function say(id, text) {
  document.getElementById(id).textContent = text;
}

function send(kind, key) {
  if (socket && socket.readyState === WebSocket.OPEN) {
    socket.send(JSON.stringify({ kind, key }));
  }
}

function show(view) {
  for (const id of ["headline", "message", "detail", "keys"]) {
    say(id, view[id]);
  }
  const image = document.getElementById("frame");
  image.hidden = !view.frame;
  if (view.frame) {
    image.src = view.frame;
  }
  document.body.dataset.phase = view.phase;
  document.body.dataset.count = view.count;
  if (view.phase === "finished") {
    finished = true;
    say("message", "The session has ended, and everything is saved. This page can be closed.");
  }
}

function connect() {
  let answered = false;
  socket = new WebSocket(new URL("socket", location.href).href.replace(/^http/, "ws"));
  socket.onopen = () => {
    answered = true;
  };
  socket.onmessage = (event) => show(JSON.parse(event.data));
  socket.onclose = () => {
    if (!finished) {
      say("message", answered ? LOST : GONE);
      setTimeout(connect, RETRY_MS);
    }
  };
}

function isOurs(event) {
  return !(event.ctrlKey || event.altKey || event.metaKey) && event.key !== "F5";
}

addEventListener("keydown", (event) => {
  if (isOurs(event)) {
    event.preventDefault();
    if (!event.repeat) {
      send("down", event.key);
    }
  }
});
addEventListener("keyup", (event) => {
  if (isOurs(event)) {
    send("up", event.key);
  }
});
addEventListener("blur", () => send("blur", ""));
connect();
