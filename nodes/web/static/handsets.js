// Handsets drawn as phones: what they received and wrote, over the simulator behind /demo/handsets.
import { $, announce, call, clock, el, normalise, poll, setText, stickToEnd } from "./dom.js";

const kept = 80; // messages shown of one handset; the rest has scrolled away

class Phone {
  constructor(number, replyTo) {
    this.number = number;
    this.seen = 0;
    this.on = sessionStorage.getItem(`off ${number}`) == null;
    this.edited = false;
    const id = `handset-${number.slice(1)}`;
    this.power = el("button", { class: "power", type: "button", click: () => this.toggle() }, el("span", { class: "hide" }, `${number} is switched on`));
    this.list = el("ol", { class: "inbox", tabindex: "0", "aria-live": "polite", "aria-label": `Messages of ${number}` });
    this.to = el("input", { class: "handset-to", id: `${id}-to`, value: replyTo, inputmode: "tel", autocomplete: "off", required: true, input: () => (this.edited = true) });
    this.text = el("textarea", { class: "handset-compose", id: `${id}-text`, rows: "1", placeholder: "Text", keydown: (event) => this.onKey(event) });
    this.send = el("button", { class: "handset-send", type: "submit", "aria-label": `Send from ${number}` }, "Send");
    this.error = el("p", { class: "error", role: "alert" });
    this.form = el(
      "form",
      { class: "pad", submit: (event) => this.onSend(event) },
      el("div", { class: "to" }, el("label", { for: `${id}-to` }, "To"), this.to),
      el("label", { class: "hide", for: `${id}-text` }, "Text"),
      el("div", { class: "write" }, this.text, this.send),
      this.error,
    );
    this.node = el(
      "article",
      { class: "phone", "data-handset": number, "aria-label": `Handset ${number}` },
      el("div", { class: "earpiece", "aria-hidden": "true" }),
      this.power,
      el("div", { class: "screen" }, el("header", {}, el("span", { class: "bars", "aria-hidden": "true" }), el("h3", {}, number)), this.list, el("p", { class: "dark" }, "Switched off. The SMSC keeps what comes for it."), this.form),
    );
    stickToEnd(this.list);
    this.paint();
  }

  paint() {
    this.node.dataset.on = this.on;
    this.power.setAttribute("aria-pressed", this.on);
    this.power.title = this.on ? "Switch off" : "Switch on";
    for (const field of [this.to, this.text, this.send]) field.disabled = !this.on;
  }

  async toggle() {
    this.power.disabled = true;
    try {
      await call("PUT", `demo/handsets/${encodeURIComponent(this.number)}`, { on: !this.on });
      this.on = !this.on;
      if (this.on) sessionStorage.removeItem(`off ${this.number}`);
      else sessionStorage.setItem(`off ${this.number}`, "1");
      announce(`${this.number} is switched ${this.on ? "on" : "off"}`);
      setText(this.error, "");
    } catch (problem) {
      setText(this.error, problem.message);
    }
    this.power.disabled = false;
    this.paint();
  }

  onKey(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.form.requestSubmit();
  }

  async onSend(event) {
    event.preventDefault();
    const text = this.text.value;
    const to = this.to.value.trim();
    if (!text || !to) return;
    this.send.disabled = true;
    try {
      await call("POST", `demo/handsets/${encodeURIComponent(this.number)}/messages`, { to, text });
      this.add(el("li", { class: "sms-out" }, el("p", {}, text), el("small", {}, `to ${to} · ${clock(Date.now())}`)));
      this.text.value = "";
      this.edited = false;
      setText(this.error, "");
    } catch (problem) {
      setText(this.error, problem.message);
    }
    this.send.disabled = !this.on;
  }

  add(...items) {
    this.list.append(...items);
    while (this.list.childElementCount > kept) this.list.firstElementChild.remove();
  }

  async refresh() {
    const messages = (await call("GET", `demo/handsets/${encodeURIComponent(this.number)}/messages?after=${this.seen}`)) ?? [];
    if (!messages.length) return;
    this.seen += messages.length;
    this.add(
      ...messages.slice(-kept).map(({ from, text, at, parts }) =>
        el("li", { class: "sms", "data-from": from }, el("p", {}, text), el("small", {}, `${from} · ${clock(at)}${parts > 1 ? ` · ${parts} parts` : ""}`)),
      ),
    );
    if (!this.edited) this.to.value = messages.at(-1).from;
  }

  forget() {
    this.seen = 0;
    this.list.replaceChildren();
  }
}

export function startHandsets(config) {
  const phones = new Map();
  const add = (number) => {
    if (phones.has(number)) return phones.get(number);
    const phone = new Phone(number, config.number);
    phones.set(number, phone);
    $("phones").append(phone.node);
    return phone;
  };
  for (const number of config.handsets) add(number);
  setText($("edge-number"), config.number);
  $("handset-add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const number = normalise($("handset-add-input").value);
    if (!number?.startsWith("+")) return setText($("handset-error"), "A number begins with + and has 3 to 15 digits.");
    setText($("handset-error"), "");
    $("handset-add-input").value = "";
    const { node } = add(number);
    node.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  poll(500, () => Promise.all([...phones.values()].map((phone) => phone.refresh())));
  return { forget: () => phones.forEach((phone) => phone.forget()) };
}
