// The rings as dials: a tick per slot, longer and recoloured with each stage; four hands for the pointers;
// between the hands the arcs of what lies between two pointers. A tick of another colour than the arc below it
// is what came out of order.
import { count, el, setText } from "./dom.js";

const pointers = [
  { name: "processed", colour: "--processed", hand: 0.45 },
  { name: "confirmed", colour: "--confirmed", hand: 0.52 },
  { name: "sent", colour: "--sent", hand: 0.59 },
  { name: "retrieved", colour: "--retrieved", hand: 0.66 },
];
const stages = [
  { flag: ".", name: "free", colour: "--free", length: 0.16 },
  { flag: "r", name: "retrieved", colour: "--retrieved", length: 0.4 },
  { flag: "s", name: "sent", colour: "--sent", length: 0.6 },
  { flag: "c", name: "confirmed", colour: "--confirmed", length: 0.82 },
  { flag: "p", name: "processed", colour: "--processed", length: 1 },
];
const stageOf = new Map(stages.map((stage, index) => [stage.flag, index]));
const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const frameEvery = 40; // ms: smooth enough, and cheap for a machine that also runs hub, edge and SMSC

let palette = null;
function colours() {
  if (!palette) {
    const style = getComputedStyle(document.documentElement);
    palette = new Proxy({}, { get: (known, name) => (known[name] ??= style.getPropertyValue(name).trim()) });
  }
  return palette;
}

const views = new Set();
dark.addEventListener("change", () => {
  palette = null;
  for (const view of views) view.wake();
});

// One loop for all dials; it stops when nothing moves.
let running = false;
let last = 0;
function loop(now) {
  if (now - last < frameEvery - 4) return void requestAnimationFrame(loop);
  last = now;
  let moving = false;
  for (const view of views) moving = view.frame(now) || moving;
  running = moving;
  if (running) requestAnimationFrame(loop);
}

export class RingView {
  constructor(host, title, role) {
    this.host = host;
    this.canvas = el("canvas", { role: "img", "aria-label": `${title}: no figures yet` });
    this.used = el("b", {}, "–");
    this.of = el("span", {}, "");
    this.queue = el("span", { class: "queue" });
    this.values = pointers.map(({ name }) => el("dd", { "data-pointer": name }, "–"));
    this.asOf = el("span", { class: "as-of" });
    this.title = title;
    host.append(
      el("h3", {}, title, el("small", {}, role), this.asOf),
      el("div", { class: "dial" }, this.canvas, el("div", { class: "hub" }, this.used, this.of)),
      this.queue,
      el("dl", { class: "pointers" }, ...pointers.map(({ name }, i) => el("div", { class: `f-${name}` }, el("dt", {}, name), this.values[i])).reverse()),
    );
    this.before = null; // the poll before the last one, and the last one: the hands go from one to the other
    this.ring = null;
    this.from = null; // where the hands started, where they go, since when, and how long they take
    this.to = null;
    this.since = 0;
    this.takes = 200; // ms
    this.shown = [0, 0, 0, 0];
    this.stage = [];
    this.length = [];
    this.marks = new Map();
    this.spokenAt = 0;
    views.add(this);
    new ResizeObserver(() => this.wake()).observe(this.canvas);
  }

  update(ring) {
    const now = performance.now();
    const values = pointers.map(({ name }) => ring.pointers[`last_${name}`]);
    const free = ring.counts.free;
    this.slots = ring.slots;
    this.before = this.ring;
    this.ring = ring;
    pointers.forEach(({ name }, i) => {
      this.host.dataset[name] = values[i];
      setText(this.values[i], count(values[i]));
    });
    this.host.dataset.free = free;
    this.host.dataset.queue = ring.queue;
    setText(this.used, count(ring.slots - free));
    setText(this.of, `of ${ring.slots}`);
    setText(this.queue, ring.queue > 0 ? `${count(ring.queue)} waiting behind it` : "nothing waiting");
    this.queue.classList.toggle("some", ring.queue > 0);
    if (now - this.spokenAt > 3000) {
      this.spokenAt = now;
      this.canvas.setAttribute("aria-label", `${this.title}: ${stages.map(({ name }) => `${ring.counts[name]} ${name}`).join(", ")}; ${ring.queue} waiting`);
    }

    const jump = !this.to || still.matches || values.some((value, i) => value < this.to[i] || value - this.to[i] > 4 * ring.slots);
    this.from = jump ? values : this.shown;
    this.to = values;
    this.takes = jump ? 0 : Math.min(400, Math.max(100, now - this.since));
    this.since = now;
    while (this.length.length < ring.slots) this.length.push(stages[0].length);
    this.wake();
  }

  // stale says how old what we know of this side is, in ms; 0 for now.
  stale(ms) {
    setText(this.asOf, ms > 2000 ? `${Math.round(ms / 1000)} s ago` : "");
    this.host.classList.toggle("stale", ms > 2000);
  }

  // mark points at the slot that holds one of our own messages.
  mark(id, address) {
    if (address == null) this.marks.delete(id);
    else this.marks.set(id, address);
    this.wake();
  }

  wake() {
    if (running) return;
    running = true;
    requestAnimationFrame(loop);
  }

  // frame moves everything a step on and draws; false once all is in place.
  frame(now) {
    if (!this.to || !this.canvas.clientWidth) return false;
    const done = this.takes ? Math.min(1, (now - this.since) / this.takes) : 1;
    this.shown = this.to.map((value, i) => this.from[i] + (value - this.from[i]) * done);
    if (done < 1 && this.before) this.between();
    else for (let slot = 0; slot < this.slots; slot++) this.stage[slot] = stageOf.get(this.ring.flags[slot]) ?? 0;
    let moving = done < 1;
    for (let slot = 0; slot < this.slots; slot++) {
      const gap = stages[this.stage[slot]].length - this.length[slot];
      if (Math.abs(gap) < 0.03 || still.matches) this.length[slot] += gap;
      else {
        this.length[slot] += gap * 0.5;
        moving = true;
      }
    }
    this.draw();
    return moving;
  }

  // between fills in the slots on the way from one poll to the next: by the hands where they are now, and ahead of them
  // what had come out of order at the poll before.
  between() {
    const [processed, confirmed, sent, retrieved] = this.shown.map(Math.round);
    const known = this.before.pointers;
    const next = this.ring.pointers;
    for (let sequence = processed + 1; sequence <= processed + this.slots; sequence++) {
      const slot = sequence % this.slots;
      const flag = stageOf.get(this.before.flags[slot]) ?? 0;
      let stage = sequence <= confirmed ? 3 : sequence <= sent ? 2 : sequence <= retrieved ? 1 : 0;
      if (sequence > known.last_processed && sequence <= known.last_retrieved) stage = Math.max(stage, flag);
      else if (stage === 0) {
        // The last occupant, processed and not yet released: as the poll says that will still be true, or was.
        const held = sequence > next.last_retrieved ? this.ring.flags[slot] === "p" : flag === 4 && sequence - this.slots <= known.last_processed;
        if (held) stage = 4;
      }
      this.stage[slot] = stage;
    }
  }

  draw() {
    const size = this.canvas.clientWidth;
    const scale = Math.min(devicePixelRatio || 1, 2);
    if (this.canvas.width !== Math.round(size * scale)) this.canvas.width = this.canvas.height = Math.round(size * scale);
    const pen = this.canvas.getContext("2d");
    const colour = colours();
    const radius = size / 2 - 7;
    const turn = (2 * Math.PI) / this.slots;
    const angle = (sequence) => (sequence % this.slots) * turn - Math.PI / 2;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, size, size);
    pen.translate(size / 2, size / 2);

    pen.lineCap = "butt";
    pen.lineWidth = Math.max(1, radius * 0.9 * turn * 0.6);
    const inner = radius * 0.77;
    const reach = radius - inner;
    for (let stage = 0; stage < stages.length; stage++) {
      pen.beginPath();
      for (let slot = 0; slot < this.slots; slot++) {
        if (this.stage[slot] !== stage) continue;
        const a = angle(slot);
        const outer = inner + reach * this.length[slot];
        pen.moveTo(inner * Math.cos(a), inner * Math.sin(a));
        pen.lineTo(outer * Math.cos(a), outer * Math.sin(a));
      }
      pen.strokeStyle = colour[stages[stage].colour];
      pen.stroke();
    }

    pen.lineWidth = Math.max(1.5, radius * 0.022);
    for (let i = 1; i < pointers.length; i++) {
      const begin = this.shown[i - 1];
      const length = Math.min(this.slots, this.shown[i] - begin);
      if (length < 0.5) continue;
      pen.beginPath();
      pen.arc(0, 0, radius * 0.725, angle(begin + 0.5), angle(begin + 0.5) + length * turn);
      pen.strokeStyle = colour[["", "--confirmed", "--sent", "--retrieved"][i]];
      pen.stroke();
    }

    pen.lineCap = "round";
    for (let i = pointers.length - 1; i >= 0; i--) {
      const a = angle(this.shown[i]);
      const tip = radius * pointers[i].hand;
      pen.strokeStyle = pen.fillStyle = colour[pointers[i].colour];
      pen.lineWidth = Math.max(1.5, radius * 0.026);
      pen.beginPath();
      pen.moveTo(radius * 0.38 * Math.cos(a), radius * 0.38 * Math.sin(a));
      pen.lineTo(tip * Math.cos(a), tip * Math.sin(a));
      pen.stroke();
      pen.beginPath();
      pen.arc(tip * Math.cos(a), tip * Math.sin(a), Math.max(2, radius * 0.032), 0, 7);
      pen.fill();
    }

    pen.fillStyle = colour["--ink"];
    for (const address of this.marks.values()) {
      const a = angle(address);
      pen.beginPath();
      for (const [r, side] of [[radius + 0.5, 0], [radius + 7, 0.028], [radius + 7, -0.028]]) {
        pen.lineTo(r * Math.cos(a + side * (120 / radius)), r * Math.sin(a + side * (120 / radius)));
      }
      pen.fill();
    }
  }
}

// Spark draws the rates of the last minute.
export class Spark {
  constructor(canvas, scaleLabel) {
    this.canvas = canvas;
    this.scaleLabel = scaleLabel;
    this.samples = [];
    new ResizeObserver(() => this.draw()).observe(canvas);
    dark.addEventListener("change", () => this.draw());
  }

  add(sample) {
    this.samples.push(sample);
    if (this.samples.length > 61) this.samples.shift();
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    const scale = Math.min(devicePixelRatio || 1, 2);
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    const colour = colours();
    const most = Math.max(10, ...this.samples.flatMap(({ down, up, direct }) => [down, up, direct]));
    setText(this.scaleLabel, `peak ${count(most)}/s`);
    pen.scale(scale, scale);
    const x = (i) => width - 2 - ((this.samples.length - 1 - i) / 60) * (width - 4);
    const y = (value) => height - 2 - (value / most) * (height - 6);
    pen.lineJoin = "round";
    pen.strokeStyle = colour["--line"];
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(0, height - 0.5);
    pen.lineTo(width, height - 0.5);
    pen.stroke();
    for (const [name, shade] of [["up", "--up"], ["down", "--accent"], ["direct", "--danger"]]) {
      pen.beginPath();
      this.samples.forEach((sample, i) => pen.lineTo(x(i), y(sample[name])));
      pen.strokeStyle = colour[shade];
      pen.lineWidth = 1.75;
      pen.stroke();
      if (name !== "down" || !this.samples.length) continue;
      pen.lineTo(x(this.samples.length - 1), height);
      pen.lineTo(x(0), height);
      pen.globalAlpha = 0.1;
      pen.fillStyle = colour[shade];
      pen.fill();
      pen.globalAlpha = 1;
    }
  }
}
