// One deployment: its replicas, why they are where they are, and what became of it.

import { ask, page } from "./api.js";
import { Explanation } from "./explanation.js";
import { at, Badge, Failure, RESOURCES, Shown, standing, useAnswer, Waiting, When } from "./parts.js";
import { html, useContext, useState } from "./vendor/preact-htm-3.1.1.module.js";

export function Deployment({ id }) {
  const { moment } = useContext(Shown);
  const path = at(`/api/deployment/status/${encodeURIComponent(id)}`, moment);
  const [found, error, again] = useAnswer(() => ask("GET", path), id);
  return html`<article>
    <p><a href="#/deployments">Deployments</a></p>
    <${Waiting} answer=${found} error=${error} />
    ${found &&
    html`<h1>${found.name} <${Badge} of=${standing(found)} /> <${Badge} of=${found.health} /></h1>
      <p class="quiet">
        ${id}; each replica takes
        ${RESOURCES.filter(([key]) => found.resources[key] > 0)
          .map(([key, name, unit]) => ` ${found.resources[key]} ${unit || name}`)
          .join(",")}
      </p>
      ${!moment && found.status !== "deleted" && html`<${Image} id=${id} />
        <${Change} deployment=${found} done=${again} />`}
      <h2>Replicas</h2>
      <${Replicas} replicas=${found.replicas} moment=${moment} />
      ${!moment && found.status !== "deleted" && html`<${Why} id=${id} />`}
      <h2>What happened</h2>
      <${History} changes=${found.recent_status_changes} />`}
  </article>`;
}

// What replicas are to run, and how the update to it goes, or why it went back.
function Image({ id }) {
  const [told] = useAnswer(() => ask("GET", `/api/deployment/rollout/${encodeURIComponent(id)}`), id);
  if (!told) return null;
  const wanted = told.revisions.find((each) => each.revision === told.wanted_revision);
  const waits = told.waits_for ? `; it waits for ${told.waits_for}` : "";
  return html`<p class="told">
    Image ${wanted.container_image}${told.phase !== "done" && html`, ${told.message}${waits}`}
  </p>`;
}

function Replicas({ replicas, moment }) {
  const [nodes] = useAnswer(() => page(at("/cluster/nodes", moment)));
  const names = new Map(nodes?.items.map((node) => [node.id, node.name]));
  if (!replicas.length) return html`<p class="quiet">None.</p>`;
  return html`<table class="listed">
    <thead><tr><th>Replica</th><th>Status</th><th>Node</th><th>Container</th><th>Started</th></tr></thead>
    <tbody>
      ${replicas.map(
        (replica) => html`<tr key=${replica.id}>
          <td class="id title" title=${replica.id}>${replica.id}</td>
          <td data-label="Status"><${Badge} of=${replica.status} /></td>
          <td data-label="Node" title=${replica.node_id ?? ""}>${names.get(replica.node_id) ?? replica.node_id ?? "-"}</td>
          <td class="id" data-label="Container" title=${replica.container_id ?? ""}>${replica.container_id ?? "-"}</td>
          <td data-label="Started"><${When} of=${replica.started_at} /></td>
        </tr>`,
      )}
    </tbody>
  </table>`;
}

function Why({ id }) {
  const [told, error] = useAnswer(() => ask("GET", `/api/deployment/explain/${encodeURIComponent(id)}`), id);
  return html`<section>
    <h2>Why</h2>
    <${Waiting} answer=${told} error=${error} />
    ${told && html`<p>${told.summary}</p>`}
    ${told?.explanation &&
    html`<${Explanation} of=${told.now ?? told.explanation} decidedAt=${told.now ? 0 : told.decided_at_sequence} />`}
  </section>`;
}

function History({ changes }) {
  return html`<ol class="history">
    ${changes.map(
      (change) => html`<li key=${`${change.changed_at} ${change.new_status}`}>
        <${When} of=${change.changed_at} />${" "}
        <${Badge} of=${standing({ status: change.new_status, degraded: change.degraded })} /> ${change.reason}
      </li>`,
    )}
  </ol>`;
}

function Change({ deployment, done }) {
  const [error, setError] = useState(null);
  const id = encodeURIComponent(deployment.deployment_id);
  const change = async (method, path, body) => {
    setError(null);
    try {
      await ask(method, path, body);
      done();
    } catch (problem) {
      setError(problem);
    }
  };
  const scale = (event) => {
    event.preventDefault();
    const replicas = Number(new FormData(event.target).get("replicas"));
    change("POST", `/api/deployment/scale/${id}`, { replicas });
  };
  const remove = () => {
    if (confirm(`Delete ${deployment.name} and stop its replicas?`)) {
      change("DELETE", `/api/deployment/${id}`);
    }
  };
  return html`<section>
    <form class="choice" onSubmit=${scale}>
      <label>Replicas <input name="replicas" type="number" min="1" defaultValue=${deployment.target_replicas} /></label>
      <button>Scale</button>
      <button type="button" class="danger" onClick=${remove}>Delete</button>
    </form>
    <${Failure} error=${error} />
  </section>`;
}
