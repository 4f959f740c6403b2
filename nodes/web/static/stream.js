// The person's WebSocket: reconnects with jittered back-off and goes on after the last event it has seen.
import { Problem } from "./dom.js";

const longestWait = 10_000; // ms

export class Stream {
  // login gives a fresh token; position the sequence of the last event seen; on has open, event, state and refused.
  constructor({ login, position, device, on }) {
    Object.assign(this, { login, position, device, on });
    this.failures = 0;
    this.token = null;
    this.closed = false;
    this.retryNow = () => this.timer && this.connect();
    addEventListener("online", this.retryNow);
    this.connect();
  }

  async connect() {
    clearTimeout(this.timer);
    this.timer = null;
    this.on.state("connecting");
    try {
      if (!this.token || Date.parse(this.token.expires_at) - Date.now() < 60_000) this.token = await this.login();
    } catch (problem) {
      if (this.closed) return;
      if (problem instanceof Problem && (problem.status === 401 || problem.status === 403)) return void this.on.refused(problem);
      return void this.again();
    }
    if (this.closed) return;
    const where = new URL(`v1/stream?after=${this.position()}&device=${encodeURIComponent(this.device)}`, location.href);
    where.protocol = where.protocol.replace("http", "ws");
    const socket = (this.socket = new WebSocket(where, ["ringway.v1", `ringway.token.${this.token.token}`]));
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.failures = 0;
      this.on.state("live");
      this.on.open();
    };
    socket.onmessage = ({ data }) => {
      try {
        this.on.event(JSON.parse(data));
      } catch (error) {
        console.error("stream: an event that cannot be read", error);
      }
    };
    socket.onclose = () => {
      if (this.closed || socket !== this.socket) return;
      if (!opened) this.token = null; // a browser does not say why; the token may be why
      this.again();
    };
  }

  // again tries at once after the first failure, then waits longer and longer.
  again() {
    const most = Math.min(longestWait, 250 * 2 ** this.failures);
    const wait = this.failures === 0 ? 50 : most / 2 + (Math.random() * most) / 2;
    this.failures += 1;
    this.on.state("waiting", wait);
    this.timer = setTimeout(() => this.connect(), wait);
  }

  // send reports whether it went out; what did not is the caller's to send again.
  send(frame) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    removeEventListener("online", this.retryNow);
    this.socket?.close(1000);
  }
}
