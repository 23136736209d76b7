// The gateway's REST face as this page uses it: a session, requests, and the stream of events.

const KEPT = "fogbank-session";
const RETRY_MS = 1000;

export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Of this tab alone, and gone with it: a token is worth as much as a password.
let session = JSON.parse(sessionStorage.getItem(KEPT) || "null");
let refreshing = null;
// What to tell who was signed in until the session ended by itself.
let ended = null;
const listeners = new Set();

export const signedIn = () => session !== null;
export const sessionEnd = () => ended;

export function onSession(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function keep(tokens, end = null) {
  session = tokens;
  ended = end;
  if (tokens) sessionStorage.setItem(KEPT, JSON.stringify(tokens));
  else sessionStorage.removeItem(KEPT);
  listeners.forEach((listener) => listener());
}

export async function signIn(username, password) {
  keep(await answerOf(await send("POST", "/api/auth/login", { username, password })));
}

export async function signOut() {
  try {
    await ask("POST", "/api/auth/logout");
  } finally {
    keep(null);
  }
}

// A refresh token works once, so that requests which fail together share one exchange.
function refreshed() {
  refreshing ??= (async () => {
    try {
      const given = { refresh_token: session.refresh_token };
      keep(await answerOf(await send("POST", "/api/auth/refresh", given)));
    } catch (error) {
      if (error.status === 401) keep(null, new Problem(401, "Your session ended: sign in again."));
      throw error;
    } finally {
      refreshing = null;
    }
  })();
  return refreshing;
}

function send(method, path, body, options = {}) {
  const headers = { ...options.headers };
  if (session) headers.Authorization = `Bearer ${session.access_token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return fetch(path, { ...options, method, headers, body: body && JSON.stringify(body) });
}

async function admitted(method, path, body, options) {
  const response = await send(method, path, body, options);
  if (response.status !== 401 || !session) return response;
  await refreshed();
  return send(method, path, body, options);
}

async function answerOf(response) {
  const text = await response.text();
  let content = null;
  try {
    content = text ? JSON.parse(text) : null;
  } catch {
    throw new Problem(response.status, `The gateway answered with status ${response.status}.`);
  }
  if (!response.ok) throw new Problem(response.status, content?.detail ?? response.statusText);
  return content;
}

// Returns what a request is answered with, or throws a Problem with the gateway's own words.
export async function ask(method, path, body) {
  return answerOf(await admitted(method, path, body));
}

// Returns a page of a list, and how many there are in all.
export async function page(path) {
  const response = await admitted("GET", path);
  const items = await answerOf(response);
  return { items, total: Number(response.headers.get("X-Total-Count") ?? items.length) };
}

// Calls `heard` with each commit after a sequence, for as long as `signal` allows.
export async function follow(after, signal, heard, lost) {
  while (!signal.aborted) {
    try {
      const headers = { "Last-Event-ID": String(after) };
      const response = await admitted("GET", "/api/events", undefined, { signal, headers });
      if (!response.ok) await answerOf(response);
      for await (const message of messages(response.body)) {
        // Other events are no commits: after `end` the next request finds out why.
        if (message.data && !message.event) heard(JSON.parse(message.data));
        after = message.id ?? after;
      }
    } catch (error) {
      if (signal.aborted || error.status === 401) return;
      lost(error);
    }
    await new Promise((done) => setTimeout(done, RETRY_MS));
  }
}

// What EventSource does, which can send no token.
async function* messages(body) {
  let rest = "";
  for await (const piece of chunks(body.pipeThrough(new TextDecoderStream()).getReader())) {
    const blocks = (rest + piece).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const message = {};
      for (const line of block.split("\n")) {
        const colon = line.indexOf(": ");
        if (colon > 0) message[line.slice(0, colon)] = line.slice(colon + 2);
      }
      yield message;
    }
  }
}

async function* chunks(reader) {
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
