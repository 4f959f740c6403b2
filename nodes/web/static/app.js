// The page of `ringway demo`: a person's chat, the rings of both sides, handsets.
import { startChat } from "./chat.js";
import { $, announce, call, count, poll, rate, setText } from "./dom.js";
import { startHandsets } from "./handsets.js";
import { RingView, Spark } from "./rings.js";

const linkWords = { up: "Link up", interrupted: "Link interrupted", synchronising: "Synchronising", unknown: "Link: asking" };

const rings = {
  "hub-down": new RingView(document.querySelector('[data-ring="hub-down"]'), "Hub", "sends"),
  "edge-down": new RingView(document.querySelector('[data-ring="edge-down"]'), "Edge", "mirror"),
  "hub-up": new RingView(document.querySelector('[data-ring="hub-up"]'), "Hub", "mirror"),
  "edge-up": new RingView(document.querySelector('[data-ring="edge-up"]'), "Edge", "sends"),
};
const board = document.querySelector(".board");
const spark = new Spark($("spark"), $("spark-max"));

async function start() {
  let config;
  for (let wait = 250; !config; wait = Math.min(4000, wait * 2)) {
    try {
      config = await call("GET", "demo/config");
    } catch (problem) {
      tell(`${problem.message} Trying again.`);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  tell("");
  setText($("edge-name"), config.edge);
  setText($("protocol"), `SMSC, ${String(config.protocol).toUpperCase()}`);
  startChat(config, (id, address) => {
    rings["hub-down"].mark(id, address);
    rings["edge-down"].mark(id, address);
  });
  const handsets = startHandsets(config);
  poll(200, () => showRings(config.edge));
  let lost = false;
  poll(1000, async () => {
    try {
      showState(await call("GET", "demo/state"));
      if (lost) handsets.forget(); // a demo that was started again counts their messages anew
      lost = false;
      tell("");
    } catch (problem) {
      lost = true;
      tell(`${problem.message} Is ringway demo still running? Trying again.`);
    }
  });
}

function tell(text) {
  setText($("notice"), text);
  $("notice").hidden = !text;
}

async function showRings(edge) {
  const { edges } = await call("GET", "demo/rings");
  const state = edges.find(({ id }) => id === edge) ?? edges[0];
  if (!state) return;
  for (const [name, view] of Object.entries(rings)) {
    const [side, direction] = name.split("-");
    if (state[side]?.[direction]) view.update(state[side][direction]);
  }
  const age = state.edge_as_of ? Date.now() - Date.parse(state.edge_as_of) : 0;
  rings["edge-down"].stale(age);
  rings["edge-up"].stale(age);
  setText($("epoch"), `${state.id}, epoch ${state.epoch}`);
  const pill = $("link-state");
  if (pill.dataset.state !== state.link) {
    pill.dataset.state = board.dataset.link = state.link;
    setText(pill, linkWords[state.link] ?? state.link);
  }
}

// A control that a person is moving is not moved by the server's answer; the last word within 800 ms is theirs.
const held = new Map();
const hold = (control) => held.set(control, performance.now());
const free = (control) => performance.now() - (held.get(control) ?? -Infinity) > 800;

function showState({ cut, rtt_ms, jitter_ms, pouring, rates, totals }) {
  if (free($("cut"))) paintCut(cut);
  if (free($("pour"))) paintPour(pouring);
  for (const [slider, value] of [[$("rtt"), rtt_ms], [$("jitter"), jitter_ms]]) if (free(slider)) slider.value = value;
  paintWan();
  setText($("rate-down"), rate(rates.down));
  setText($("rate-up"), rate(rates.up));
  setText($("rate-direct"), rate(rates.direct));
  for (const name of ["accepted", "delivered", "received"]) setText($(`total-${name}`), count(totals?.[name]));
  spark.add(rates);
  const times = rates.direct > 0 ? rates.down / rates.direct : 0;
  const measured = times > 0 && pouring && !cut;
  setText($("ratio"), measured ? `${times >= 10 ? count(Math.round(times)) : times.toFixed(1)}×` : "");
  setText($("rates-title"), measured ? `faster than direct${rates.up > 0 ? `; ${count(Math.round(rates.up / rates.direct))}× up` : ""}` : cut ? "The link is cut: both sides keep taking in" : pouring ? "Measuring" : "Pour traffic to measure");
}

function paintCut(cut) {
  $("cut").setAttribute("aria-pressed", cut);
  setText($("cut").firstElementChild, cut ? "Restore the link" : "Cut the link");
  board.classList.toggle("cut-through", cut);
}

function paintPour(on) {
  $("pour").setAttribute("aria-pressed", on);
  setText($("pour").firstElementChild, on ? "Stop pouring" : "Pour traffic");
  board.classList.toggle("pouring", on);
}

function paintWan() {
  const rtt = Number($("rtt").value);
  setText($("rtt-value"), `${rtt} ms`);
  setText($("jitter-value"), `${$("jitter").value} ms`);
  const slots = rings["hub-down"].slots ?? 255;
  setText($("limit"), rtt > 0 ? `${slots} slots a round trip: at most ${count(Math.floor((slots * 1000) / rtt))}/s` : "no distance: the SMSC is the limit");
}

async function command(control, method, path, body) {
  hold(control);
  try {
    await call(method, path, body);
  } catch (problem) {
    held.delete(control);
    tell(problem.message);
  }
}

$("cut").addEventListener("click", () => {
  const cut = $("cut").getAttribute("aria-pressed") !== "true";
  paintCut(cut);
  announce(cut ? "The link is cut" : "The link is restored");
  command($("cut"), "POST", "demo/cut", { cut });
});
$("pour").addEventListener("click", () => {
  const on = $("pour").getAttribute("aria-pressed") !== "true";
  paintPour(on);
  command($("pour"), "POST", "demo/pour", { on });
});

let wanTimer = 0;
for (const slider of [$("rtt"), $("jitter")]) {
  slider.addEventListener("input", () => {
    hold($("rtt"));
    hold($("jitter"));
    paintWan();
    clearTimeout(wanTimer);
    wanTimer = setTimeout(() => command(slider, "PUT", "demo/wan", { rtt_ms: Number($("rtt").value), jitter_ms: Number($("jitter").value) }), 120);
  });
}

for (const button of document.querySelectorAll(".segmented button")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll(".segmented button")) other.setAttribute("aria-pressed", other === button);
    document.querySelector(".rings").dataset.show = button.dataset.show;
  });
}
for (const button of document.querySelectorAll(".tabs button")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll(".tabs button")) other === button ? other.setAttribute("aria-current", "true") : other.removeAttribute("aria-current");
    document.body.dataset.tab = button.dataset.go;
    scrollTo(0, 0);
  });
}

start();
