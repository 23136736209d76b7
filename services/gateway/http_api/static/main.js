// The page's frame: who is signed in, which page is open, which moment it shows.

import { ask, follow, onSession, sessionEnd, signedIn, signIn, signOut } from "./api.js";
import { Deployment } from "./deployment.js";
import { Deployments } from "./deployments.js";
import { Nodes } from "./nodes.js";
import { Overview } from "./overview.js";
import { Failure, Shown } from "./parts.js";
import { Record } from "./record.js";
import { html, render, useEffect, useState } from "./vendor/preact-htm-3.1.1.module.js";

// Commits come by the hundred where much happens; what they changed is asked for this often.
const ASK_AT_MOST_EVERY_MS = 1000;

const PAGES = [
  ["", "Fleet", Overview],
  ["deployments", "Deployments", Deployments],
  ["nodes", "Nodes", Nodes],
  ["record", "Record", Record],
];

function useRoute() {
  const read = () => location.hash.replace(/^#\/?/, "").split("/");
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const changed = () => setRoute(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

// Returns the log's position and a number that grows with it, at most so often.
function useLog() {
  const [log, setLog] = useState({ position: 0, grown: 0, error: null });
  useEffect(() => {
    const ended = new AbortController();
    let timer = null;
    let position = 0;
    const told = () => {
      timer = null;
      setLog((before) => ({ position, grown: before.grown + 1, error: null }));
    };
    const heard = (commit) => {
      position = commit.sequence;
      timer ??= setTimeout(told, ASK_AT_MOST_EVERY_MS);
    };
    const lost = (error) => setLog((before) => ({ ...before, error }));
    const start = async () => {
      position = (await ask("GET", "/api/v1/system/status")).log_sequence;
      setLog((before) => ({ ...before, position }));
      await follow(position, ended.signal, heard, lost);
    };
    start().catch(lost);
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, []);
  return log;
}

function Frame() {
  const [section, id] = useRoute();
  const log = useLog();
  const [moment, show] = useState("");
  const shown = { moment, show, position: log.position, grown: moment ? 0 : log.grown };
  const [, , Page] = PAGES.find(([name]) => name === section) ?? PAGES[0];
  return html`<div>
    <header>
      <a class="name" href="#/">Fogbank</a>
      <nav aria-label="Sections">
        ${PAGES.map(
          ([name, title]) => html`<a key=${name} href=${`#/${name}`}
            aria-current=${name === section ? "page" : undefined}>${title}</a>`,
        )}
      </nav>
      <${Moment} moment=${moment} show=${show} />
      <button onClick=${signOut}>Sign out</button>
    </header>
    <${Shown.Provider} value=${shown}>
      <main>
        ${log.error && html`<p class="failure" role="alert">Not live any more: ${log.error.message}</p>`}
        ${section === "deployments" && id
          ? html`<${Deployment} key=${id} id=${id} />`
          : log.position > 0 && html`<${Page} />`}
      </main>
    </${Shown.Provider}>
  </div>`;
}

// A moment is a commit's number or an instant, as `?as_of=` takes them.
function Moment({ moment, show }) {
  const pick = (event) => event.target.value && show(new Date(event.target.value).toISOString());
  if (!moment) {
    return html`<label class="moment">Look back to
      <input type="datetime-local" step="1" onChange=${pick} /></label>`;
  }
  const words = moment.includes("T") ? new Date(moment).toLocaleString() : `commit ${moment}`;
  return html`<span class="moment past" role="status">
    As of ${words} <button class="main" onClick=${() => show("")}>Now</button>
  </span>`;
}

function SignIn() {
  const [error, setError] = useState(sessionEnd());
  const submit = async (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    try {
      await signIn(given.get("username"), given.get("password"));
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<main class="sign-in">
    <h1>Fogbank</h1>
    <form onSubmit=${submit}>
      <label>User <input name="username" autocomplete="username" required autofocus /></label>
      <label>Password <input name="password" type="password" autocomplete="current-password" required /></label>
      <button class="main">Sign in</button>
      <${Failure} error=${error} />
    </form>
  </main>`;
}

function Dashboard() {
  const [, setKnown] = useState(signedIn());
  useEffect(() => onSession(() => setKnown(signedIn())), []);
  return signedIn() ? html`<${Frame} />` : html`<${SignIn} />`;
}

render(html`<${Dashboard} />`, document.body);
