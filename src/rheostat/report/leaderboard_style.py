"""What a leaderboard adds to the page's style sheet, and the script that sorts its tables."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
main { max-width: 1400px; }
section.group { border-top: 1px solid var(--line); margin-top: 3rem; }
section.group > h2 { margin-top: 1.5rem; overflow-wrap: anywhere; }
section h3 { margin-top: 2rem; }
:root { --slow: #a04a00; }
@media (prefers-color-scheme: dark) { :root { --slow: #f0a35e; } }
.board { font-size: .9rem; border-collapse: separate; border-spacing: 0; }
.board th, .board td { padding: .45rem 0 .45rem 1.1rem; vertical-align: top; line-height: 1.35; }
.board th:first-child { position: sticky; left: 0; z-index: 1; background: var(--page); padding: .45rem .7rem
  .45rem 0; min-width: 9rem; max-width: 15rem; white-space: normal; overflow-wrap:
  break-word; border-right: 1px solid var(--line); }
.board tbody tr:hover > * { background: var(--card); }
.board th a { color: inherit; text-decoration: underline dotted var(--soft); text-underline-offset: .2em; }
.board small, .board .reason { display: block; color: var(--soft); font-size: .82rem; }
.board .reason { white-space: normal; min-width: 9rem; max-width: 15rem; margin-left: auto; }
.board .text { text-align: left; }
.board .text .reason, .board .narrow .reason { margin-left: 0; }
.board .none { color: var(--soft); }
.board sup { color: var(--accent); font-weight: 650; font-size: .72em; margin-left: .1em; }
.board tr.plain td, .board tr.plain th { font-weight: inherit; }
.board tr.plain > * { background: var(--card); }
.board tbody.simple th, .board tbody.simple td { border-bottom-style: dotted; }
.board tbody.simple tr:first-child > * { border-top: 2px solid var(--line); }
.board thead th { vertical-align: bottom; min-width: 4.5rem; }
.board thead small { font-weight: 400; white-space: nowrap; }
.board thead button { all: unset; cursor: pointer; text-align: inherit; color: inherit; display: inline-block; }
.board thead button:hover { color: var(--ink); text-decoration: underline; }
.board thead button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.board thead button::after { content: "\\00a0\\2195"; opacity: .45; }
.board [aria-sort="ascending"] button::after { content: "\\00a0\\2191"; opacity: 1; color: var(--accent); }
.board [aria-sort="descending"] button::after { content: "\\00a0\\2193"; opacity: 1; color: var(--accent); }
.board [aria-sort] { color: var(--ink); }
.chip { display: inline-block; font-size: .76rem; line-height: 1.3; border: 1px solid var(--line); border-radius:
  1rem; padding: .05rem .5rem; color: var(--soft); white-space: nowrap; }
.chip.front { color: var(--accent); border-color: var(--accent); }
.chip.slow, .chip.broken { color: var(--slow); border-color: var(--slow); }
.speed { display: flex; align-items: flex-start; justify-content: flex-end; gap: .6rem; }
.speed > div { flex: 0 0 8.2rem; }
thead .speed { margin-top: .2rem; }
.speed svg { flex: none; margin-top: .05rem; }
.whisker line { stroke: var(--accent); stroke-width: 2; }
.whisker circle { fill: var(--accent); }
.whisker .one { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 2; }
.whisker .grid { stroke: var(--line); stroke-width: 1; }
.whisker text { fill: var(--soft); font-size: 10px; text-anchor: middle; }
.whisker.slow line:not(.one):not(.grid) { stroke: var(--slow); }
.whisker.slow circle { fill: var(--slow); }
.whisker.tied line:not(.one):not(.grid) { stroke: var(--soft); }
.whisker.tied circle { fill: var(--page); stroke: var(--soft); stroke-width: 1.5; }
.pick { display: inline-flex; gap: .5rem; align-items: center; margin: .6rem 0; font-size: .92rem; cursor: pointer; }
.group:has(.pick input:not(:checked)) .more { display: none; }
.narrow { display: none; }
.small { font-size: .9rem; max-width: none; }
.terms { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; font-size: .94rem; margin: .5rem 0
  1rem; }
.terms dt { font-weight: 600; }
.terms dd { margin: 0; overflow-wrap: anywhere; }
details > summary { cursor: pointer; padding: .25rem 0; overflow-wrap: anywhere; }
details.all > summary { font-weight: 600; }
details.all > details { border-left: 2px solid var(--line); margin-left: .3rem; padding-left: .9rem; }
details td, details th { white-space: normal; }
details .scroll td:last-child { text-align: left; padding-left: 1rem; }
.numbers { width: auto; font-size: .88rem; }
.js-plotly-plot .annotation-text { paint-order: stroke; stroke: var(--page); stroke-width: 5px;
  stroke-linejoin: round; }
@media (max-width: 640px) { .terms { grid-template-columns: 1fr; gap: 0; } .terms dd { margin-bottom: .6rem; }
  .board .knob, .board .status { display: none; } .board .narrow { display: block; }
  .board th:first-child { min-width: 7.4rem; max-width: 8.4rem; }
  .speed { flex-direction: column; align-items: flex-end; gap: .1rem; } .speed > div { flex: none; }
  .speed svg { width: 110px; } .board .reason { min-width: 0; overflow-wrap: anywhere; }
  .board th, .board td { padding-left: .7rem; } }
@media print { .pick { display: none; } }
"""

SCRIPT = """
(() => {
  "use strict";
  const valueOf = (row, column, numeric) => {
    const raw = row.cells[column].dataset.v;
    return raw === undefined ? null : numeric ? Number(raw) : raw;
  };
  const order = (one, other, sign, numeric) => {
    if (one === null || other === null) return (one === null) - (other === null);
    return sign * (numeric ? one - other : one.localeCompare(other, "en", { numeric: true }));
  };
  const sort = (table, column) => {
    const heads = [...table.tHead.rows[0].cells], head = heads[column];
    const now = head.getAttribute("aria-sort"), numeric = head.dataset.kind === "number";
    const next = now === null ? head.dataset.first : now === "ascending" ? "descending" : "ascending";
    const sign = next === "ascending" ? 1 : -1, body = table.tBodies[0];
    body.append(...[...body.rows].sort(
      (a, b) => order(valueOf(a, column, numeric), valueOf(b, column, numeric), sign, numeric)));
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", next);
  };
  for (const table of document.querySelectorAll("table.board"))
    [...table.tHead.rows[0].cells].forEach((head, column) =>
      head.querySelector("button").addEventListener("click", () => sort(table, column)));
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let box = target; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  for (const link of document.querySelectorAll(".board a"))
    link.addEventListener("click", () => setTimeout(open));
  open();
})();
"""
