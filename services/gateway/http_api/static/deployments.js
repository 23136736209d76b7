// All deployments of whoever is signed in, and a form for one more.

import { ask, page } from "./api.js";
import { Explanation } from "./explanation.js";
import { at, Badge, Failure, Pages, Shown, standing, useAnswer, Waiting, When } from "./parts.js";
import { html, useContext, useState } from "./vendor/preact-htm-3.1.1.module.js";

const SIZE = 50;
const STATUSES = ["pending", "scheduled", "running", "failed", "deleted"];

export function Deployments() {
  const { moment } = useContext(Shown);
  const [wanted, setWanted] = useState({ name: "", status: "", offset: 0 });
  const query = new URLSearchParams({ limit: SIZE, offset: wanted.offset });
  if (wanted.name) query.set("name", wanted.name);
  if (wanted.status) query.set("status", wanted.status);
  const path = at(`/api/deployment/list?${query}`, moment);
  const [list, error, again] = useAnswer(() => page(path), path);
  const choose = (change) => setWanted({ ...wanted, offset: 0, ...change });
  return html`<article>
    <h1>Deployments</h1>
    <div class="choice">
      <input type="search" placeholder="Name contains" aria-label="Name contains"
        onInput=${(event) => choose({ name: event.target.value })} />
      <select aria-label="Status" onChange=${(event) => choose({ status: event.target.value })}>
        <option value="">All but deleted</option>
        ${STATUSES.map((status) => html`<option key=${status}>${status}</option>`)}
      </select>
    </div>
    <${Waiting} answer=${list} error=${error} />
    ${list && (list.items.length
      ? html`<${Table} rows=${list.items} />
          <${Pages} offset=${wanted.offset} size=${SIZE} total=${list.total}
            go=${(offset) => choose({ offset })} />`
      : html`<p class="quiet">None ${moment ? "then" : "yet"}.</p>`)}
    ${!moment && html`<${Deploy} done=${again} />`}
  </article>`;
}

function Table({ rows }) {
  return html`<table class="listed">
    <thead>
      <tr><th>Name</th><th>Status</th><th class="count">Running</th><th>Changed</th><th>Created</th></tr>
    </thead>
    <tbody>
      ${rows.map(
        (row) => html`<tr key=${row.id}>
          <td class="title"><a href=${`#/deployments/${row.id}`}>${row.name}</a></td>
          <td data-label="Status"><${Badge} of=${standing(row)} /></td>
          <td class="count" data-label="Running">${row.running_replicas} of ${row.target_replicas}</td>
          <td data-label="Changed"><${When} of=${row.updated_at} /></td>
          <td data-label="Created"><${When} of=${row.created_at} /></td>
        </tr>`,
      )}
    </tbody>
  </table>`;
}

// With default values, not values: those would be put back while somebody types.
const FIELDS = [
  ["name", "Name", { required: true }],
  ["container_image", "Image", { required: true, placeholder: "nginx:latest" }],
  ["replicas", "Replicas", { type: "number", min: 1, defaultValue: 1 }],
  ["cpu", "Cores each", { type: "number", step: "any", defaultValue: 1 }],
  ["memory", "Memory each, MiB", { type: "number", defaultValue: 1024 }],
  ["storage", "Storage each, GiB", { type: "number", defaultValue: 10 }],
  ["gpu", "GPUs each", { type: "number", defaultValue: 0 }],
  ["region", "Region", { defaultValue: "us-east" }],
];
const OF_A_REPLICA = ["cpu", "memory", "storage", "gpu"];

function asked(form) {
  const given = Object.fromEntries(new FormData(form));
  const resources = Object.fromEntries(OF_A_REPLICA.map((key) => [key, Number(given[key])]));
  const { name, container_image, region } = given;
  return { name, type: "compute", container_image, replicas: Number(given.replicas), resources, region };
}

// The gateway judges what is given, not this form: it says which field, and what is allowed.
function Deploy({ done }) {
  const [error, setError] = useState(null);
  const [plan, setPlan] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    const planned = event.submitter?.value === "plan";
    setError(null);
    setPlan(null);
    try {
      const path = planned ? "/api/deployment/plan" : "/api/deployment/deploy";
      const answer = await ask("POST", path, asked(event.target));
      if (planned) setPlan(answer);
      else done();
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<details>
    <summary>Deploy</summary>
    <form onSubmit=${submit}>
      ${FIELDS.map(
        ([name, label, more]) => html`<label key=${name}>${label}<input name=${name} ...${more} /></label>`,
      )}
      <div class="choice">
        <button value="plan">Plan</button>
        <button value="deploy" class="main">Deploy</button>
      </div>
      <${Failure} error=${error} />
      ${plan && html`<${Plan} plan=${plan} />`}
    </form>
  </details>`;
}

function Plan({ plan }) {
  const where = plan.scheduled.map((candidate) => candidate.node).join(", ");
  return html`<div role="status">
    <p>
      ${where ? `Its replicas would be placed on ${where}.` : "It would wait for room."}
      ${plan.preempted.length > 0 && ` ${plan.preempted.length} replicas of others would give way.`}
    </p>
    <${Explanation} of=${plan.explanation} />
  </div>`;
}
