// Small helpers. Data reaches the page only as text nodes and attributes, never as markup.

export const $ = (id) => document.getElementById(id);

// el makes an element: class and data-* by name, functions as listeners, the rest as attributes.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

// setText touches the page only when something changed.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat("en");
export const count = (n) => whole.format(n ?? 0);
export const rate = (n) => (n >= 10 || n === 0 ? whole.format(Math.round(n)) : n.toFixed(1));
export const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

// span says a duration as a person would: 312 ms, 4.2 s, 3 min.
export function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

// Problem is what the server refused, with its own words (RFC 9457).
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// call asks the server and gives its JSON, or throws a Problem (status 0: no answer).
export async function call(method, path, body, token) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(10_000),
    });
  } catch {
    throw new Problem(0, "No answer from the server.");
  }
  const text = await response.text();
  let data = null;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    // an error page of something in between; its status says enough
  }
  if (!response.ok) throw new Problem(response.status, data?.detail || data?.title || `The server answered ${response.status}.`);
  return data;
}

// poll runs task every interval ms, never two at a time, not while the page is hidden. A task that fails is tried again.
export function poll(interval, task) {
  const round = async () => {
    const begun = performance.now();
    if (!document.hidden) {
      try {
        await task();
      } catch (problem) {
        if (!(problem instanceof Problem)) console.error(problem);
      }
    }
    setTimeout(round, Math.max(interval / 4, interval - (performance.now() - begun)));
  };
  round();
}

// stickToEnd keeps a list's end in view while it grows or is resized, unless somebody scrolled up. What it gives back
// goes to the end again.
export function stickToEnd(list) {
  let stuck = true;
  const follow = () => {
    if (stuck && list.clientHeight) list.scrollTop = list.scrollHeight;
  };
  const onScroll = () => {
    if (list.clientHeight) stuck = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  };
  list.addEventListener("scroll", onScroll, { passive: true });
  new MutationObserver(follow).observe(list, { childList: true, subtree: true });
  new ResizeObserver(follow).observe(list);
  return () => {
    stuck = true;
    follow();
  };
}

export function announce(text) {
  $("announce").textContent = text;
}

// normalise gives the form in which names and numbers are compared, or null if it is neither.
export function normalise(address) {
  const text = address.trim();
  if (text.startsWith("+")) {
    const digits = text.slice(1).replace(/[\s().-]/g, "");
    return /^[0-9]{3,15}$/.test(digits) ? `+${digits}` : null;
  }
  const name = text.toLowerCase();
  return /^[a-z][a-z0-9._-]{1,31}$/.test(name) ? name : null;
}
