"""The style sheet of the report page: it follows the reader's dark or light theme."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --card: #f5f7f9; --ink: #1b1f24; --soft: #57606a;
  --line: #d6dce2; --accent: #1f5fa8; --mark: #9acbff; --warn: #fff4d6; --warn-line: #b7791f; }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --card: #1d232a; --ink: #e8edf2; --soft:
  #a7b1bb; --line: #38414b; --accent: #7ab5f2; --mark: #1f5c96; --warn: #3a2f14; --warn-line: #d9a441; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system,
  "Segoe UI", Roboto, "Noto Sans", sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 1040px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem; letter-spacing: -.01em; overflow-wrap:
  anywhere; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
.lead { font-size: 1.15rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .92rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .9rem; margin:
  1.5rem 0 0; padding: 0; }
.cards > div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding:
  .9rem 1rem; }
.cards dt { color: var(--soft); font-size: .88rem; }
.cards dd { margin: .1rem 0 0; }
.cards strong { font-size: 1.6rem; line-height: 1.25; font-weight: 650; color: var(--accent); display:
  block; }
.note { background: var(--warn); border-left: 4px solid var(--warn-line); border-radius: .3rem; padding:
  .6rem .9rem; margin: .8rem 0; max-width: none; }
figure { margin: .75rem 0 0; }
figcaption { max-width: 46rem; margin-bottom: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .94rem; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { padding: .42rem .75rem .42rem 0; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tbody th { font-weight: 400; }
thead th { color: var(--soft); font-weight: 600; border-bottom-width: 2px; white-space: normal;
  vertical-align: bottom; }
tr.plain td, tr.plain th { font-weight: 650; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; font-size: .94rem;
  margin: .3rem 0 1rem; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
.tokens { line-height: 2; overflow-wrap: anywhere; border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem 1rem; max-width: none; }
.t { background: color-mix(in srgb, var(--mark) calc(var(--d) * 100%), transparent); padding: .12em .05em;
  border-radius: .2em; }
.t.end { border-bottom: 2px solid var(--accent); }
.t.special { font-style: italic; font-size: .88em; }
.legend { max-width: none; line-height: 2; }
.legend .t { white-space: nowrap; padding: .12em .5em; margin-right: .15em; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem;
  overflow-x: auto; font-size: .9rem; }
footer { margin-top: 3rem; color: var(--soft); font-size: .88rem; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.js-plotly-plot .xtitle, .js-plotly-plot .ytitle, .js-plotly-plot .legendtext, .js-plotly-plot
  .annotation-text,
.js-plotly-plot .textpoint text, .js-plotly-plot .xtick text, .js-plotly-plot .ytick text { fill:
  var(--ink) !important; }
@media (max-width: 640px) { .facts { grid-template-columns: 1fr; } .facts dd { margin-bottom: .4rem; }
  main { padding-top: 1.5rem; } }
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""
