// The gateway's REST face as this page uses it: a session, requests, and the stream of events.

const KEPT = "fogbank-session";
const RETRY_MS = 1000;
// A laptop that changes its network loses what is under way; what it asks again finds the new one.
const SEND_AGAIN_AFTER_MS = [200, 1000];

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

// A request whose answer was lost is sent again under the same key, so that it is done once.
async function send(method, path, body, options = {}) {
  const headers = { ...options.headers };
  if (session) headers.Authorization = `Bearer ${session.access_token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["Idempotency-Key"] = newKey();
  const request = { ...options, method, headers, body: body && JSON.stringify(body) };
  for (const wait of SEND_AGAIN_AFTER_MS) {
    try {
      return await fetch(path, request);
    } catch (error) {
      // What fetch throws where there was no answer; what the page itself broke off is none.
      if (!(error instanceof TypeError)) throw error;
      await pause(wait);
    }
  }
  return fetch(path, request);
}

// randomUUID is kept from pages that came over plain HTTP.
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

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
    await pause(RETRY_MS);
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
