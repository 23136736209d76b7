// Why replicas are where they are, or what keeps them from a node.

import { html } from "./vendor/preact-htm-3.1.1.module.js";

// Scores are thousandths, the terms they consist of are shares of one. `decidedAt` is the commit of the round that saw
// it so; without it, it is so now.
export function Explanation({ of, decidedAt = 0 }) {
  const terms = [...new Set(of.best.flatMap((candidate) => Object.keys(candidate.terms)))].sort();
  return html`<div>
    <p>
      ${decidedAt ? `When it was decided last (commit ${decidedAt}), ` : ""}${of.nodes_feasible} of
      ${" "}${of.nodes_considered} nodes ${decidedAt ? "could" : "can"} take a replica.
    </p>
    ${of.filters.length > 0 &&
    html`<ul>
      ${of.filters.map(({ filter, nodes, reason }) => html`<li key=${filter}>${nodes} ${nodes === 1 ? "node" : "nodes"} ${reason}</li>`)}
    </ul>`}
    ${of.would_unblock.length > 0 &&
    html`<p>What would help:</p>
      <ul>${of.would_unblock.map((help) => html`<li key=${help}>${help}</li>`)}</ul>`}
    ${of.best.length > 0 &&
    html`<table class="scores">
        <caption>The best nodes, with what their scores consist of</caption>
        <tbody>${of.best.map((each) => html`<${Candidate} key=${each.node_id} of=${each} terms=${terms} />`)}</tbody>
      </table>
      <p class="legend">
        ${terms.map((term, index) => html`<span key=${term}><i class=${`term-${index}`}></i>${term}</span>`)}
      </p>`}
  </div>`;
}

function Candidate({ of, terms }) {
  return html`<tr>
    <td>${of.node}</td>
    <td class="count">${of.score}</td>
    <td class="bar-cell">
      <span class="bar">
        ${terms.map((term, index) => {
          const share = Math.max(0, of.terms[term] ?? 0);
          const title = `${term}: ${(share * 1000).toFixed(0)}`;
          return html`<span key=${term} class=${`term-${index}`} title=${title}
            style=${{ width: `${share * 100}%` }}></span>`;
        })}
      </span>
    </td>
  </tr>`;
}
