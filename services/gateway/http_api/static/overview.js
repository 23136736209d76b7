// The fleet at a glance.

import { ask } from "./api.js";
import { at, Badge, Shown, useAnswer, Uses, Waiting } from "./parts.js";
import { html, useContext } from "./vendor/preact-htm-3.1.1.module.js";

export function Overview() {
  const { moment } = useContext(Shown);
  const [fleet, error] = useAnswer(() => ask("GET", at("/cluster/state?nodes=false", moment)));
  const [system, systemError] = useAnswer(() => ask("GET", "/api/v1/system/status"));
  return html`<article>
    <h1>Fleet</h1>
    <${Waiting} answer=${fleet} error=${error} />
    ${fleet && html`<${Room} fleet=${fleet} />`}
    ${!moment && html`<h2>System</h2><${Waiting} answer=${system} error=${systemError} />`}
    ${!moment && system && html`<${System} status=${system} />`}
  </article>`;
}

function Room({ fleet }) {
  const statuses = Object.entries(fleet.nodes_by_status).sort();
  return html`<div class="cards">
    <section class="card">
      <h2>Nodes</h2>
      <p class="figure"><a href="#/nodes">${fleet.nodes_total}</a></p>
      ${statuses.map(([status, count]) => html`<p key=${status}><${Badge} of=${status} /> ${count}</p>`)}
    </section>
    <section class="card wide">
      <h2>Promised to replicas</h2>
      <${Uses} taken=${fleet.allocated} of=${fleet.allocatable} />
    </section>
  </div>`;
}

function System({ status }) {
  const { queue, scheduler, ledger } = status;
  return html`<div class="cards">
    <section class="card">
      <h2>Waiting</h2>
      <p class="figure">${queue.total}</p>
      ${Object.entries(queue.depth).map(([name, count]) => html`<p key=${name}>${name}: ${count}</p>`)}
    </section>
    <section class="card">
      <h2>Scheduler</h2>
      ${scheduler
        ? html`<p>${scheduler.leader ?? "nobody"} leads</p>
            <p>${scheduler.rounds_accepted} rounds, ${scheduler.rounds_void} void</p>
            <p>Policy ${status.policy}</p>`
        : html`<p class="failure">No answer</p>`}
    </section>
    <section class="card">
      <h2>Record</h2>
      <p class="figure"><a href="#/record">${status.log_sequence}</a></p>
      ${ledger
        ? html`<p>The ledger is ${ledger.lag_commits} commits behind</p>
            ${ledger.scrub_findings.map((finding) => html`<p class="failure">${finding}</p>`)}`
        : html`<p class="failure">The ledger does not answer</p>`}
    </section>
    <section class="card">
      <h2>Agents</h2>
      <p class="figure">${status.agents_connected}</p>
      <p>connected to this gateway, version ${status.versions.fogbank}</p>
    </section>
  </div>`;
}
