// A person's chat over the hub's public interface: /v1/login, /v1/stream, /v1/messages, /v1/presence.
import { $, announce, call, clock, el, normalise, poll, Problem, setText, span, stickToEnd } from "./dom.js";
import { estimate } from "./sms.js";
import { Stream } from "./stream.js";

// The way of a message, and the rank of each state: a lower one never replaces a higher one.
const smsWay = ["accepted", "retrieved", "sent", "confirmed", "processed", "delivered"];
const personWay = ["accepted", "processed", "delivered"];
const rank = { sending: 0, refused: 0, accepted: 1, retrieved: 2, sent: 3, confirmed: 4, deferred: 5, unknown: 5, processed: 6, delivered: 7, failed: 7, expired: 7 };
const explain = {
  sending: "on its way to the hub",
  refused: "the hub did not take it",
  accepted: "on disk at the hub",
  retrieved: "in a slot of the ring",
  sent: "on its way over the WAN",
  confirmed: "on disk at the edge",
  deferred: "the SMSC refuses for now; the edge tries again",
  unknown: "the SMSC never answered",
  processed: "the SMSC has it",
  delivered: "the handset has it",
  failed: "it did not arrive",
  expired: "it was worth nothing any more",
};
const explainPerson = { processed: "in the inbox", delivered: "a client has taken it" };
const keptMessages = 400; // of one user, over all contacts
const shownMessages = 150; // of one conversation
const presenceEvery = 4000; // ms

const toEnd = stickToEnd($("talk"));
const isHandset = (address) => address.startsWith("+");
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

// startChat signs people in and out; showSlot(id, address) marks a message's slot on the rings, address null unmarks it.
export function startChat(config, showSlot) {
  const device = (sessionStorage.device ??= `web-${random().slice(0, 8)}`);
  const users = config.users ?? [];
  let chat = null;

  const fill = ({ user, password }) => {
    $("signin-user").value = user;
    $("signin-password").value = password;
  };
  const knownPassword = (user) => users.find((known) => known.user === user)?.password;
  if (users.length) fill(users[0]);
  if (users.length > 1) {
    $("signin-others").append("Or be ");
    users.slice(1).forEach((other, i) =>
      $("signin-others").append(i ? ", " : "", el("button", { type: "button", class: "linklike", click: () => (fill(other), $("signin").focus()) }, other.user)),
    );
  }
  $("signin-user").addEventListener("change", () => {
    const password = knownPassword($("signin-user").value);
    if (password) $("signin-password").value = password;
  });

  const leave = (problem) => {
    chat?.close();
    chat = null;
    sessionStorage.removeItem("user");
    $("chat-body").hidden = true;
    $("signout").hidden = true;
    $("signin-form").hidden = false;
    setText($("chat-title"), "Person at a PC");
    setText($("stream-state"), "Not signed in");
    $("stream-state").dataset.state = "";
    setText($("signin-error"), problem?.message ?? "");
  };
  const enter = async (user, password) => {
    $("signin").disabled = true;
    setText($("signin-error"), "");
    try {
      const login = () => call("POST", "v1/login", { user, password });
      const token = await login();
      sessionStorage.user = user;
      chat = new Chat({ me: user.toLowerCase(), token, login, device, config, showSlot, refused: leave });
      $("signin-form").hidden = true;
      $("chat-body").hidden = false;
      $("signout").hidden = false;
      setText($("chat-title"), user);
      await chat.begin();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      leave(problem);
    } finally {
      $("signin").disabled = false;
    }
  };
  $("signin-form").addEventListener("submit", (event) => {
    event.preventDefault();
    enter($("signin-user").value.trim(), $("signin-password").value);
  });
  $("signout").addEventListener("click", () => leave());

  $("contact-add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    chat?.onAddContact($("contact-add-input").value);
  });
  $("compose-form").addEventListener("submit", (event) => {
    event.preventDefault();
    chat?.onSend($("compose").value);
  });
  $("compose").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("compose-form").requestSubmit();
  });
  $("compose").addEventListener("input", () => chat?.paintCounter());
  poll(presenceEvery, () => chat?.askPresence());

  // After a reload the same person goes on, if the demo told us the password.
  const before = sessionStorage.user;
  if (before && knownPassword(before)) enter(before, knownPassword(before));
}

class Chat {
  constructor(given) {
    Object.assign(this, given);
    this.messages = new Map(); // by id, or by ref until the hub has given an id
    this.contacts = new Map(); // by address: {address, unread, online, row}
    this.nodes = new Map(); // message -> its list item, in the conversation that is open
    this.open = null;
    this.seq = 0;
    this.asking = 0;
    this.gone = new Set(); // ids asked for in vain
    this.storeKey = `chat ${this.me}`;
    $("contacts").replaceChildren();
    $("talk").replaceChildren();
  }

  async begin() {
    await this.restore();
    await this.readInbox();
    this.messages = new Map([...this.messages].sort(([, a], [, b]) => Date.parse(a.at) - Date.parse(b.at)));
    for (const { user } of this.config.users ?? []) if (user !== this.me) this.contact(user);
    for (const number of this.config.handsets ?? []) this.contact(number);
    for (const message of this.messages.values()) this.contact(message.peer);
    this.show([...this.contacts.keys()].find(isHandset) ?? [...this.contacts.keys()][0]);
    let first = this.token;
    this.stream = new Stream({
      device: this.device,
      position: () => this.seq,
      login: async () => {
        const token = first ?? (await this.login());
        first = null;
        return (this.token = token);
      },
      on: {
        open: () => this.sendPending(),
        event: (event) => this.onEvent(event),
        state: (state, wait) => this.onStream(state, wait),
        refused: this.refused,
      },
    });
    this.askPresence();
  }

  close() {
    this.stream?.close();
    for (const id of this.messages.keys()) this.showSlot(id, null);
    clearTimeout(this.storeTimer);
    this.store();
  }

  // ---- what a reload keeps: the last messages and the position in the stream

  async restore() {
    let stored;
    try {
      stored = JSON.parse(sessionStorage.getItem(this.storeKey));
    } catch {
      return;
    }
    if (!stored) return;
    const known = stored.messages.filter(({ id }) => id);
    try {
      // A demo that was begun anew knows none of this, and counts its events from 1 again.
      if (known.length) await call("GET", `v1/messages/${encodeURIComponent(known.at(-1).id)}`, undefined, this.token.token);
      else stored.seq = 0;
    } catch (problem) {
      if (problem.status === 404) return;
    }
    this.seq = stored.seq;
    for (const message of stored.messages) this.messages.set(message.id ?? message.ref, message);
    for (const address of stored.contacts) this.contact(address);
  }

  storeSoon() {
    this.storeTimer ??= setTimeout(() => {
      this.storeTimer = null;
      this.store();
    }, 400);
  }

  store() {
    const messages = [...this.messages.values()].filter(({ peer }) => peer).slice(-keptMessages);
    if (this.messages.size > 2 * keptMessages) this.messages = new Map(messages.map((message) => [message.id ?? message.ref, message]));
    try {
      sessionStorage.setItem(this.storeKey, JSON.stringify({ seq: this.seq, messages, contacts: [...this.contacts.keys()] }));
    } catch {
      // no room: a reload then asks the hub again from the beginning
    }
  }

  // ---- contacts

  contact(address) {
    let contact = this.contacts.get(address);
    if (contact) return contact;
    contact = { address, unread: 0, online: null };
    contact.badge = el("span", { class: "badge", hidden: true });
    contact.preview = el("small", {}, isHandset(address) ? "handset" : "person");
    contact.dot = el("i", { class: isHandset(address) ? "avatar handset" : "avatar", "aria-hidden": "true" }, isHandset(address) ? "" : address.slice(0, 1));
    contact.state = el("span", { class: "hide" });
    contact.row = el("button", { type: "button", "data-contact": address, click: () => this.show(address) }, contact.dot, el("span", {}, el("b", {}, address), contact.preview), contact.state, contact.badge);
    this.contacts.set(address, contact);
    $("contacts").append(el("li", {}, contact.row));
    return contact;
  }

  async onAddContact(input) {
    const address = normalise(input);
    const say = (text) => setText($("contact-error"), text);
    if (!address) return say("A name (a letter, then letters, digits, . _ -) or + and 3 to 15 digits.");
    if (address === this.me) return say("That is you.");
    say("");
    if (!isHandset(address)) {
      try {
        await this.presence(address);
      } catch (problem) {
        return say(problem.status === 404 ? `Nobody here is called ${address}.` : problem.message);
      }
    }
    $("contact-add-input").value = "";
    this.contact(address);
    this.show(address);
    this.askPresence();
    this.storeSoon();
  }

  presence(name) {
    return call("GET", `v1/presence/${encodeURIComponent(name)}`, undefined, this.token.token);
  }

  async askPresence() {
    for (const contact of this.contacts.values()) {
      if (isHandset(contact.address)) continue;
      try {
        const { state, since } = await this.presence(contact.address);
        contact.row.dataset.presence = state;
        contact.row.title = since ? `${state} since ${clock(since)}` : state;
        setText(contact.state, state);
      } catch {
        delete contact.row.dataset.presence; // not known is not offline
        setText(contact.state, "");
      }
    }
  }

  // ---- the conversation

  show(address) {
    if (!address) return;
    this.open = address;
    const contact = this.contact(address);
    contact.unread = 0;
    this.paintUnread(contact);
    for (const other of this.contacts.values()) other.row.setAttribute("aria-current", other === contact);
    setText($("talk-title"), isHandset(address) ? `SMS with ${address}` : `Chat with ${address}`);
    this.nodes.clear();
    $("talk").replaceChildren();
    const shown = [...this.messages.values()].filter(({ peer }) => peer === address).slice(-shownMessages);
    for (const message of shown) this.append(message);
    toEnd();
    this.paintCounter();
    for (const message of this.messages.values()) this.paintPreview(message);
  }

  paintUnread(contact) {
    contact.badge.hidden = !contact.unread;
    setText(contact.badge, String(contact.unread || ""));
    const all = [...this.contacts.values()].reduce((sum, { unread }) => sum + unread, 0);
    $("tab-unread").hidden = !all;
    setText($("tab-unread"), String(all || ""));
  }

  paintPreview(message) {
    const contact = this.contacts.get(message.peer);
    if (contact) setText(contact.preview, `${message.mine ? "you: " : ""}${message.text ?? ""}`.slice(0, 60));
  }

  paintCounter() {
    const text = $("compose").value;
    if (!this.open || !isHandset(this.open)) return setText($("counter"), text ? `${[...text].length} characters` : "");
    const { encoding, units, parts, room } = estimate(text);
    setText($("counter"), `${encoding} ${units}/${room}${parts > 1 ? ` · ${parts} parts` : ""}`);
    $("counter").title = "An estimate; the hub says what it took.";
  }

  // append adds a message to the conversation that is open, by its place in time.
  append(message) {
    const talk = $("talk");
    const node = el("li", { class: message.mine ? "mine" : "theirs" }, el("p", { class: "text" }, message.text ?? "…"));
    if (message.mine) {
      const steps = el("span", { class: "steps", "aria-hidden": "true" }, ...this.way(message).map((state) => el("i", { "data-step": state })));
      const label = el("span", { class: "label" });
      const button = el("button", { type: "button", class: "state", "aria-expanded": "false", click: () => this.toggleStory(message) }, steps, label);
      node.append(button, el("div", { class: "story", hidden: true }));
    } else {
      node.append(el("small", { class: "when" }, clock(message.at) + (message.doubled ? " · possible duplicate" : "")));
    }
    this.nodes.set(message, node);
    this.paint(message);
    talk.append(node);
    while (talk.childElementCount > shownMessages) talk.firstElementChild.remove();
  }

  way(message) {
    return isHandset(message.peer) ? smsWay : personWay;
  }

  paint(message) {
    const node = this.nodes.get(message);
    if (!node) return;
    if (message.id) node.dataset.messageId = message.id;
    node.dataset.state = message.state;
    setText(node.querySelector(".text"), message.text ?? "…");
    if (!message.mine) return;
    const way = this.way(message);
    const failed = ["failed", "expired", "refused"].includes(message.state);
    const reached = rank[message.state];
    way.forEach((state, i) => {
      const step = node.querySelectorAll(".steps i")[i];
      const done = failed ? message.history.some((past) => past.state === state) : rank[state] <= reached;
      step.className = done ? `on f-${state}` : failed && i === way.length - 1 ? "on bad" : (message.state === "deferred" || message.state === "unknown") && state === "processed" ? "on doubt" : "";
      const past = message.history.find((entry) => entry.state === state);
      step.title = past ? `${state}: ${clock(past.at)}, ${this.after(message, past)}` : state;
    });
    const last = message.history.findLast(({ state }) => state === message.state);
    setText(node.querySelector(".label"), message.state + (last && message.state !== "accepted" ? ` ${this.after(message, last)}` : ""));
    node.querySelector(".state").title = this.explain(message, message.state);
    this.paintStory(message);
  }

  after(message, { at }) {
    return `+${span(Math.max(0, Date.parse(at) - Date.parse(message.history[0].at)))}`;
  }

  explain(message, state) {
    return (!isHandset(message.peer) && explainPerson[state]) || explain[state];
  }

  toggleStory(message) {
    const node = this.nodes.get(message);
    const story = node.querySelector(".story");
    story.hidden = !story.hidden;
    node.querySelector(".state").setAttribute("aria-expanded", String(!story.hidden));
    this.paintStory(message);
    if (!story.hidden) {
      this.ask(message);
      node.scrollIntoView({ block: "nearest" });
    }
  }

  paintStory(message) {
    const story = this.nodes.get(message).querySelector(".story");
    if (story.hidden) return;
    const rows = message.history.map((past) =>
      el("li", { class: `f-${past.state}` }, el("b", {}, past.state), el("span", {}, this.explain(message, past.state)), el("time", { datetime: past.at, title: clock(past.at) }, past === message.history[0] ? clock(past.at) : this.after(message, past))),
    );
    const facts = [];
    if (message.reason) facts.push(message.reason);
    if (message.parts > 1) facts.push(`${message.parts} parts`);
    if (message.encoding) facts.push(message.encoding);
    if (message.edge) facts.push(message.sequence ? `${message.edge}, sequence ${message.sequence}, slot ${message.address}` : message.edge);
    if (message.attempts > 1) facts.push(`${message.attempts} attempts`);
    story.replaceChildren(el("ol", {}, ...rows), el("p", {}, facts.join(" · ")), el("p", {}, message.id ?? ""));
    if (message.state === "refused") story.append(el("button", { type: "button", class: "linklike", click: () => this.resend(message) }, "Try again"));
  }

  // ---- out

  onSend(text) {
    if (!text || !this.open) return;
    const now = new Date().toISOString();
    const message = { ref: random(), peer: this.open, mine: true, text, at: now, state: "sending", final: false, history: [{ state: "sending", at: now }] };
    this.messages.set(message.ref, message);
    $("compose").value = "";
    this.paintCounter();
    this.append(message);
    toEnd();
    this.paintPreview(message);
    this.transmit(message);
    this.storeSoon();
  }

  transmit({ ref, peer, text }) {
    return this.stream.send({ op: "send", op_id: ref, ref, to: peer, text });
  }

  // sendPending repeats what the hub has not answered; the ref makes that harmless.
  sendPending() {
    for (const message of this.messages.values()) if (message.mine && message.state === "sending") this.transmit(message);
  }

  resend(message) {
    message.state = "sending";
    message.history = [{ state: "sending", at: new Date().toISOString() }];
    this.paint(message);
    this.transmit(message);
  }

  // ---- in

  onEvent(event) {
    if (event.seq > this.seq) this.seq = event.seq;
    switch (event.ev) {
      case "accepted":
        this.onAccepted(event);
        break;
      case "error":
        this.onError(event);
        break;
      case "state":
        this.onState(event);
        break;
      case "message":
        this.onMessage(event);
        break;
    }
    this.storeSoon();
  }

  onAccepted({ ref, op_id, id }) {
    const message = this.messages.get(ref ?? op_id);
    if (!message) return;
    const early = this.messages.get(id); // its first state overtook the answer
    this.messages.delete(message.ref);
    message.id = id;
    this.messages.set(id, message);
    for (const past of early?.history ?? []) this.enterState(message, past);
    this.enterState(message, { state: "accepted", at: new Date().toISOString() });
    this.paint(message);
  }

  onError({ op_id, code, message: text }) {
    const message = this.messages.get(op_id);
    if (!message) {
      if (text) announce(text);
      return;
    }
    message.state = "refused";
    message.reason = text || `The hub refused it (${code}).`;
    message.history.push({ state: "refused", at: new Date().toISOString() });
    this.paint(message);
    const node = this.nodes.get(message);
    if (node?.querySelector(".story").hidden) this.toggleStory(message);
    announce(message.reason);
  }

  onState({ id, ref, state, at, final }) {
    if (!this.messages.has(id) && this.messages.has(ref)) this.onAccepted({ ref, id }); // it overtook the answer
    let message = this.messages.get(id);
    if (!message) {
      // Sent from another window, or by a hub that names no ref while the answer is still to come.
      message = { id, mine: true, peer: null, text: null, at, state: "accepted", history: [] };
      this.messages.set(id, message);
    }
    this.enterState(message, { state, at });
    message.final ||= Boolean(final);
    this.paint(message);
    if (message.final || state === "processed") setTimeout(() => this.showSlot(id, null), 1500);
    if (!message.peer || state === "retrieved" || state === "failed" || state === "expired") this.ask(message);
    if (message.final && message.ref) announce(`Message to ${message.peer}: ${state}`);
  }

  enterState(message, { state, at }) {
    if (!(state in rank)) return;
    const sent = message.history[0]?.state === "sending" ? message.history.shift() : null;
    if (!message.history.some((past) => past.state === state && past.at === at) && !(state === "accepted" && message.history.some((past) => past.state === "accepted"))) {
      message.history.push({ state, at });
      message.history.sort((a, b) => Date.parse(a.at) - Date.parse(b.at) || rank[a.state] - rank[b.state]);
    }
    if (sent && !message.history.length) message.history.push(sent);
    if (rank[state] >= rank[message.state]) message.state = state;
  }

  // ask gets what the hub knows of a message: whom it is for, its history, reason and slot. A few at a time, each at
  // leisure, so that a flood of events does not become a flood of questions.
  async ask(message) {
    if (!message.id || this.asking >= 4 || this.gone.has(message.id)) return;
    this.asking += 1;
    try {
      const found = await call("GET", `v1/messages/${encodeURIComponent(message.id)}`, undefined, this.token.token);
      if (this.messages.get(message.id) !== message) return; // its own answer came meanwhile
      const learnt = message.history.filter(({ state }) => !found.history?.some((past) => past.state === state));
      message.history = [];
      for (const past of [...(found.history ?? []), ...learnt]) this.enterState(message, past);
      message.reason = found.reason?.text || found.reason?.smsc_code || message.reason;
      message.parts = found.parts?.length;
      for (const fact of ["edge", "sequence", "address", "attempts"]) message[fact] = found[fact];
      if (!message.peer && !this.hasRef(found.ref)) this.adopt(message, found);
      if (found.address != null && found.ring !== "up" && rank[message.state] < rank.processed) this.showSlot(message.id, found.address);
      this.paint(message);
    } catch (problem) {
      if (problem.status === 404) this.gone.add(message.id);
    } finally {
      this.asking -= 1;
    }
  }

  hasRef(ref) {
    return Boolean(ref) && this.messages.has(ref);
  }

  // adopt shows what this user sent from another window.
  adopt(message, found) {
    if (found.from && found.from.toLowerCase() !== this.me) return void this.messages.delete(message.id);
    message.peer = normalise(found.to) ?? found.to;
    message.text = found.text;
    this.contact(message.peer);
    this.paintPreview(message);
    if (message.peer === this.open) this.append(message);
  }

  onMessage(event) {
    this.stream.send({ op: "received", id: event.id });
    if (this.messages.has(event.id)) return;
    const message = this.incoming(event);
    const { peer, text } = message;
    this.messages.set(event.id, message);
    const contact = this.contact(peer);
    if (peer === this.open) this.append(message);
    else {
      contact.unread += 1;
      this.paintUnread(contact);
    }
    this.paintPreview(message);
    announce(`Message from ${peer}: ${text}`);
  }

  incoming({ id, from, text, at, possible_duplicate }) {
    return { id, peer: normalise(from) ?? from, mine: false, text, at, doubled: possible_duplicate, state: "delivered", history: [] };
  }

  // readInbox fills the conversations with what came before this window was opened.
  async readInbox() {
    let cursor = "";
    for (let page = 0; page < 4; page++) {
      const path = `v1/messages?box=inbox&limit=100${cursor && `&after=${encodeURIComponent(cursor)}`}`;
      const { messages, next } = await call("GET", path, undefined, this.token.token);
      for (const message of messages ?? []) if (!this.messages.has(message.id)) this.messages.set(message.id, this.incoming(message));
      if (!messages?.length || !next || next === cursor) break;
      cursor = next;
    }
  }

  onStream(state, wait) {
    const words = { connecting: "Connecting", live: "Live", waiting: `Reconnecting in ${span(wait ?? 0)}` };
    setText($("stream-state"), words[state]);
    $("stream-state").dataset.state = state;
  }
}
