// The record as it grows, and the way into its past.

import { follow } from "./api.js";
import { Failure, Shown, When } from "./parts.js";
import { html, useContext, useEffect, useState } from "./vendor/preact-htm-3.1.1.module.js";

const LATEST = 200;

export function Record() {
  const { position, show } = useContext(Shown);
  const [commits, setCommits] = useState([]);
  const [error, setError] = useState(null);
  useEffect(() => {
    const ended = new AbortController();
    const heard = (commit) => {
      setError(null);
      setCommits((before) => [commit, ...before].slice(0, LATEST));
    };
    follow(Math.max(1, position - LATEST), ended.signal, heard, setError);
    return () => ended.abort();
  }, []);
  return html`<article>
    <h1>Record</h1>
    <p class="quiet">
      The latest of what was asked, decided and observed, newest first. A number leads to everything as it
      was right after that commit.
    </p>
    <${Failure} error=${error} />
    <table class="listed">
      <thead><tr><th class="count">Commit</th><th>Time</th><th>Event</th><th>About</th><th>By</th></tr></thead>
      <tbody>
        ${commits.map((commit) =>
          commit.events.map(
            (event) => html`<tr key=${event.id}>
              <td class="count title">
                <button class="link" onClick=${() => show(String(commit.sequence))}>${commit.sequence}</button>
              </td>
              <td data-label="Time"><${When} of=${commit.appended_at} /></td>
              <td data-label="Event">
                <details>
                  <summary>${event.type.replace("fogbank.v1.", "")}</summary>
                  <pre>${JSON.stringify(event.data, null, 2)}</pre>
                </details>
              </td>
              <td data-label="About"><${About} aggregate=${event.aggregate} /></td>
              <td class="id" data-label="By" title=${event.actor}>${event.actor}</td>
            </tr>`,
          ),
        )}
      </tbody>
    </table>
  </article>`;
}

function About({ aggregate }) {
  const [kind, id] = aggregate.split("/");
  if (kind !== "deployment") return html`<span class="id" title=${aggregate}>${aggregate}</span>`;
  return html`<a class="id" href=${`#/deployments/${id}`} title=${aggregate}>${aggregate}</a>`;
}
