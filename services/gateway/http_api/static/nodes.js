// Every node with its room.

import { page } from "./api.js";
import { at, Badge, Pages, RESOURCES, Shown, useAnswer, Uses, Waiting } from "./parts.js";
import { html, useContext, useState } from "./vendor/preact-htm-3.1.1.module.js";

const SIZE = 100;
const SHOWN = RESOURCES.filter(([key]) => key !== "storage_gb");

export function Nodes() {
  const { moment } = useContext(Shown);
  const [offset, setOffset] = useState(0);
  const path = at(`/cluster/nodes?limit=${SIZE}&offset=${offset}`, moment);
  const [nodes, error] = useAnswer(() => page(path), offset);
  return html`<article>
    <h1>Nodes</h1>
    <${Waiting} answer=${nodes} error=${error} />
    ${nodes &&
    html`<table class="listed">
        <thead>
          <tr><th>Name</th><th>Status</th><th>Region</th><th>Machine</th><th class="count">Replicas</th><th>Promised</th></tr>
        </thead>
        <tbody>${nodes.items.map((node) => html`<${Row} key=${node.id} node=${node} />`)}</tbody>
      </table>
      <${Pages} offset=${offset} size=${SIZE} total=${nodes.total} go=${setOffset} />`}
  </article>`;
}

function Row({ node }) {
  const engine = [node.engine_name, node.engine_version].filter(Boolean).join(" ");
  return html`<tr>
    <td class="title" title=${node.id}>${node.name}</td>
    <td data-label="Status">
      <${Badge} of=${node.status} />
      ${node.cordoned && html` <${Badge} of="cordoned" />`} ${node.draining && html` <${Badge} of="draining" />`}
      ${node.reason && html`<div class="quiet">${node.reason}</div>`}
    </td>
    <td data-label="Region">${node.region}</td>
    <td data-label="Machine">${node.arch} ${node.gpu_model} <span class="quiet">${engine || node.runtime}</span></td>
    <td class="count" data-label="Replicas">${node.replicas}</td>
    <td data-label="Promised"><${Uses} taken=${node.allocated} of=${node.allocatable} only=${SHOWN} /></td>
  </tr>`;
}
