// What the pages are made of. Each component has one element around it: the library can misplace
// those that have several and change later.

import { html, useContext, createContext, useEffect, useState } from "./vendor/preact-htm-3.1.1.module.js";

// The moment that all pages show, "" for now, and a number that changes when the log grew.
export const Shown = createContext({ moment: "", grown: 0, show: () => {} });

// Returns [answer, error, again]; asks anew when the log grew, and keeps the last answer meanwhile.
export function useAnswer(question, ...about) {
  const { grown, moment } = useContext(Shown);
  const [state, setState] = useState({ answer: null, error: null });
  const [round, setRound] = useState(0);
  useEffect(() => setState({ answer: null, error: null }), [moment, ...about]);
  useEffect(() => {
    let wanted = true;
    question().then(
      (answer) => wanted && setState({ answer, error: null }),
      (error) => wanted && setState((before) => ({ ...before, error })),
    );
    return () => (wanted = false);
  }, [moment, grown, round, ...about]);
  return [state.answer, state.error, () => setRound((number) => number + 1)];
}

// Adds the moment to a path's query.
export function at(path, moment) {
  if (!moment) return path;
  return `${path}${path.includes("?") ? "&" : "?"}as_of=${encodeURIComponent(moment)}`;
}

export function Failure({ error }) {
  return error && html`<p class="failure" role="alert">${error.message}</p>`;
}

export function Waiting({ answer, error }) {
  if (error) return html`<${Failure} error=${error} />`;
  return answer ? null : html`<p class="quiet">Asking…</p>`;
}

export function Badge({ of }) {
  return html`<span class=${`badge ${of}`}>${of}</span>`;
}

// A deployment's status in one word: of those that run, some run with fewer replicas than asked for.
export const standing = ({ status, degraded }) => (degraded ? "degraded" : status);

export function When({ of }) {
  if (!of) return html`<span class="quiet">-</span>`;
  const instant = new Date(of);
  return html`<time datetime=${of} title=${of}>${instant.toLocaleString()}</time>`;
}

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

// How much of something is taken; over all of it the bar is full and says so.
export function Use({ name, taken, of, unit = "" }) {
  const share = of ? Math.min(1, taken / of) : 0;
  const level = share > 0.9 ? "high" : share > 0.7 ? "some" : "low";
  const words = `${number.format(taken)} of ${number.format(of)}${unit && ` ${unit}`}`;
  return html`<div class="use" title=${`${name}: ${words}`}>
    ${name && html`<span class="name">${name}</span>`}
    <span class="bar"><span class=${level} style=${{ width: `${share * 100}%` }}></span></span>
    <span class="quiet">${words}</span>
  </div>`;
}

export const RESOURCES = [
  ["cpu_cores", "CPU", "cores"],
  ["memory_mb", "Memory", "MiB"],
  ["storage_gb", "Storage", "GiB"],
  ["gpu_units", "GPUs", ""],
];

export function Uses({ taken, of, only = RESOURCES }) {
  return only
    .filter(([key]) => of[key] > 0)
    .map(
      ([key, name, unit]) =>
        html`<${Use} key=${key} name=${name} taken=${taken[key]} of=${of[key]} unit=${unit} />`,
    );
}

export function Pages({ offset, size, total, go }) {
  if (total <= size) return null;
  return html`<nav class="pages" aria-label="Pages">
    <button disabled=${offset === 0} onClick=${() => go(Math.max(0, offset - size))}>Before</button>
    <span>${offset + 1} to ${Math.min(total, offset + size)} of ${total}</span>
    <button disabled=${offset + size >= total} onClick=${() => go(offset + size)}>Next</button>
  </nav>`;
}
