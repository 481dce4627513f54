"""What the page of a search adds to the style sheets, and its script: two metrics to choose, lines to pick out."""

from __future__ import annotations

__all__ = ["BANDS_DARK", "BANDS_LIGHT", "SCRIPT", "STYLE"]

# From the worst to the best: each stands out on its page (contrast at least 3), and lightness runs one way.
BANDS_LIGHT = ("#b5761b", "#7f8426", "#3f8157", "#256f86", "#1d4fa3")
BANDS_DARK = ("#8f6b3a", "#949346", "#63ab77", "#6cc4d3", "#b3dbff")

_VARIABLES = "".join(f" --q{place}: {colour};" for place, colour in enumerate(BANDS_LIGHT))
_DARK = "".join(f" --q{place}: {colour};" for place, colour in enumerate(BANDS_DARK))
_CLASSES = "".join(f" .q{place} {{ --q: var(--q{place}); }}" for place in range(len(BANDS_LIGHT)))

STYLE = (
    f"""
:root {{{_VARIABLES} }}
@media (prefers-color-scheme: dark) {{ :root {{{_DARK} }} }}
{_CLASSES}
"""
    + """
a { color: var(--accent); }
.levels a, .trials a { color: inherit; }
.trials th:first-child { min-width: 6.4rem; }
.lead { max-width: 56rem; }
.lead + .lead { margin-top: .8rem; }
.cards strong { font-size: 1.35rem; }
.cards dt { overflow-wrap: anywhere; }
td small, th small, .levels a { display: block; color: var(--soft); font-size: .82rem; font-weight: 400; }
.levels a { max-width: 16rem; margin-left: auto; white-space: normal; }
.levels td, .effects td, .limits td, .reasons td { vertical-align: top; }
.levels td, .effects td, .limits td, .reasons td, .levels th + th, .effects th + th, .limits th + th, .reasons th + th {
  padding-left: .9rem; }
.effects { table-layout: fixed; min-width: 34rem; }
.reasons { width: auto; min-width: min(100%, 40rem); }
.levels th, .effects th, .limits th, .reasons th { vertical-align: top; }
.levels th[scope=row], .effects th[scope=row] { white-space: normal; min-width: 7rem; }
.levels .none { color: var(--soft); }
.limits td, .limits th, .reasons td, .reasons th { white-space: normal; text-align: left; padding-right: .9rem; }
.limits td { min-width: 6rem; } .limits td:last-child { min-width: 11rem; }
.reasons td, .reasons th[scope=row] { min-width: 9rem; overflow-wrap: anywhere; }
.effect .bar { display: block; height: .5rem; border-radius: .25rem; background: var(--line); margin: .35rem 0 .1rem;
  min-width: 5rem; position: relative; overflow: hidden; }
.effect .bar::after { content: ""; position: absolute; inset: 0 auto 0 0; width: calc(var(--w) * 100%);
  background: var(--accent); }
.effect.unsure { color: var(--soft); }
.effect.unsure .bar::after { background: var(--soft); opacity: .6; }
abbr { text-decoration: none; }
.choose { display: flex; flex-wrap: wrap; gap: .6rem 1.2rem; margin: .7rem 0; }
.choose label { display: inline-flex; align-items: center; gap: .5rem; font-size: .94rem; max-width: 100%; }
select { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  padding: .25rem .5rem; min-width: 0; max-width: 100%; }
.found { font-size: .94rem; margin-top: .7rem; } .found ol { margin: .3rem 0 0; padding-left: 1.4rem; }
.found li { margin: .15rem 0; overflow-wrap: anywhere; }
.coordinates { position: relative; margin-top: .8rem; }
.coordinates svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.coordinates .rule { stroke: var(--line); stroke-width: 2; vector-effect: non-scaling-stroke; }
.coordinates .line { fill: none; stroke: var(--q, var(--soft)); stroke-width: 1.3; vector-effect: non-scaling-stroke;
  stroke-linejoin: round; opacity: .75; }
.coordinates .infeasible { stroke-dasharray: 2 3; stroke-width: 1.5; }
.coordinates .failed { stroke-dasharray: 1.5 3; stroke: var(--soft); }
.coordinates .front { stroke-width: 2; opacity: 1; }
.coordinates .baseline { stroke-width: 2.6; stroke-dasharray: 8 5; opacity: 1; stroke: var(--ink); }
.coordinates .recommended { stroke-width: 4.5; opacity: 1; }
.coordinates .line:hover, .coordinates .line.picked { stroke-width: 5; opacity: 1; }
.coordinates:has(.picked) .line:not(.picked) { opacity: .15; }
.coordinates[data-show=kept] .line:not(.kept, .baseline, .picked), .coordinates[data-show=front]
  .line:not(.front, .recommended, .baseline, .picked) { display: none; }
.coordinates .name, .coordinates .tick { position: absolute; pointer-events: none; white-space: nowrap;
  line-height: 1.25; }
.coordinates .name { left: 0; font-weight: 600; font-size: .86rem; background: var(--page); padding-right: .4rem; }
.coordinates .tick { transform: translateX(-50%); font-size: .78rem; color: var(--soft); overflow: hidden;
  text-overflow: ellipsis; background: color-mix(in srgb, var(--page) 75%, transparent); padding: 0 .15rem;
  border-radius: .2rem; }
.bands i { display: inline-block; width: 1.6rem; height: .6rem; background: var(--q); margin: 0 1px; }
.picked { min-height: 1.5em; }
@media (max-width: 640px) { .wide { display: none; } .reasons td, .reasons th[scope=row] { min-width: 4.6rem; }
  .limits td { min-width: 5rem; } .limits td:last-child { min-width: 16rem; }
  .levels th[scope=row] { min-width: 5.5rem; } }
"""
)

SCRIPT = r"""
(() => {
  "use strict";
  const at = (id) => document.getElementById(id), read = (id) => JSON.parse(at(id).textContent);
  const safe = (text) => text.replace(/[&<>"]/g, (one) => `&#${one.charCodeAt(0)};`);

  const lines = at("lines");
  if (lines) {
    const said = at("lines-picked"), pick = at("lines-pick"), show = at("lines-show");
    const choose = (number) => {
      for (const one of lines.querySelectorAll(".line")) one.classList.toggle("picked", one.dataset.n === number);
      said.textContent = lines.querySelector(".line.picked title")?.textContent ?? "";
    };
    pick.addEventListener("change", () => choose(pick.value));
    show.addEventListener("change", () => { lines.dataset.show = show.value; });
    lines.addEventListener("click", (event) => {
      pick.value = event.target.dataset?.n ?? "";
      choose(pick.value);
    });
  }

  const progress = at("progress-over");
  if (progress) {
    const { over, titles } = read("progress-data"), chart = document.querySelector("#progress .plotly-graph-div");
    progress.addEventListener("change", () => Plotly.update(
      chart, { x: over[progress.value] }, { "xaxis.title.text": titles[progress.value], "xaxis.autorange": true }));
  }

  if (!at("front-data")) return;
  const { metrics, points, simple } = read("front-data");
  const across = at("front-x"), up = at("front-y"), chart = document.querySelector("#front .plotly-graph-div");
  const found = at("front-found"), shape = chart.parentElement.closest("[role=img]");
  const series = chart.data.map((one) => ({ ...one })), plain = JSON.parse(JSON.stringify(chart.layout));
  const value = (name, index) => metrics[name].at[index];
  const better = (name, one, other) => metrics[name].better === "lower" ? one < other : one > other;
  const title = (name) => {
    const { title, unit, better } = metrics[name];
    return `${title}${unit ? ` (${unit})` : ""}, ${better} is better`;
  };
  const beats = (one, other, pair) => pair.every((name) => !better(name, value(name, other)[0], value(name, one)[0]))
    && pair.some((name) => better(name, value(name, one)[0], value(name, other)[0]));
  const frontOf = (there, pair) => there
    .filter((one) => points[one].kept && !there.some((other) => points[other].kept && beats(other, one, pair)))
    .sort((one, other) => value(pair[0], one)[0] - value(pair[0], other)[0]);
  const whisker = (base, indices, name) => ({ ...base,
    array: indices.map((index) => Math.max(value(name, index)[2] - value(name, index)[0], 0)),
    arrayminus: indices.map((index) => Math.max(value(name, index)[0] - value(name, index)[1], 0)) });
  const words = (index, pair) => {
    const rest = Object.keys(metrics).filter((name) => metrics[name].objective && !pair.includes(name));
    const numbers = [...pair, ...rest].map((name) => safe(`${metrics[name].title} ${metrics[name].texts[index]}`));
    return [`<b>${safe(points[index].name)}</b>`, ...numbers, safe(points[index].words)].join("<br>");
  };
  const axis = (base, name, there) => {
    const values = there.flatMap((index) => value(name, index)), low = Math.min(...values), high = Math.max(...values);
    const made = { ...base, title: { text: title(name) }, autorange: true, type: "linear" };
    if (!(low > 0 && high > 8 * low)) return made;
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1)
      for (const step of high > 64 * low ? [1, 3] : [1, 2, 5]) ticks.push(Number(`${step}e${power}`));
    return { ...made, type: "log", tickvals: ticks, ticktext: ticks.map((tick) => tick.toLocaleString("en")) };
  };
  const list = (indices, pair) => {
    const items = indices.map((index) => {
      const item = document.createElement("li"), link = document.createElement("a");
      link.href = `#trial-${points[index].n}`;
      link.textContent = points[index].name;
      item.append(link, `: ${pair.map((name) => `${metrics[name].title} ${metrics[name].texts[index]}`).join("; ")}`);
      return item;
    });
    const [keep, are] = indices.length === 1 ? [" keeps", "is"] : ["s keep", "are"];
    const names = pair.map((name) => metrics[name].title).join(" and ");
    const head = `${indices.length} configuration${keep} the limits and ${are} on the front of ${names}.`;
    const ordered = document.createElement("ol");
    ordered.append(...items);
    found.replaceChildren(head, ordered);
    shape.setAttribute("aria-label", `${names} of ${points.length} configurations. ${head} They are listed below.`);
  };
  // A simple model far from everything else would squeeze the rest.
  const near = (name, level, there) => {
    const values = there.flatMap((index) => value(name, index)), low = Math.min(...values), high = Math.max(...values);
    return level >= low - 0.4 * (high - low) && level <= high + 0.4 * (high - low);
  };
  const levels = (pair, there) => simple.flatMap(({ name, values }) => pair.flatMap((metric, place) => {
    if (values[metric] === undefined || !near(metric, values[metric], there)) return [];
    const line = { type: "line", line: { color: "#808890", dash: "dash", width: 1.3 }, layer: "below" };
    const ends = place ? { xref: "paper", x0: 0, x1: 1, y0: values[metric], y1: values[metric] }
      : { yref: "y domain", y0: 0, y1: 1, x0: values[metric], x1: values[metric] };
    return [{ ...line, ...ends, label: { text: name, textposition: place ? "end" : "top right", font: { size: 11,
      color: "#808890" } } }];
  }));
  const draw = () => {
    const pair = [across.value, up.value], all = points.map((_, index) => index);
    const there = all.filter((index) => pair.every((name) => value(name, index))), front = frontOf(there, pair);
    const members = (one) => one.meta === "line" ? front : one.meta === "missing"
      ? all.filter((index) => !there.includes(index)) : there.filter((index) => points[index].standing === one.meta);
    const data = series.map((one) => {
      const own = members(one), lost = one.meta === "missing";
      const made = { ...one, x: own.map((index, place) => lost ? place : value(pair[0], index)[0]),
        y: own.map((index) => lost ? 0 : value(pair[1], index)[0]), customdata: own.map((index) => words(index, pair)),
        showlegend: own.length > 0 };
      if (one.error_x) Object.assign(made, { error_x: whisker(one.error_x, own, pair[0]),
        error_y: whisker(one.error_y, own, pair[1]) });
      return made;
    });
    const missing = all.length - there.length, best = pair.map((name) => metrics[name].better === "lower" ? 0 : 1);
    const arrow = [["\u2199", "\u2196"], ["\u2198", "\u2197"]][best[0]][best[1]];
    Plotly.react(chart, data, { ...plain, xaxis: axis(plain.xaxis, pair[0], there),
      yaxis: { ...axis(plain.yaxis, pair[1], there), domain: [missing ? 0.1 : 0, 1] },
      xaxis2: { ...plain.xaxis2, range: [-1, Math.max(missing, 12)] }, shapes: levels(pair, there),
      annotations: [{ xref: "x domain", yref: "y domain", x: best[0], y: best[1], showarrow: false, font: { size: 13 },
        xanchor: best[0] ? "right" : "left", yanchor: best[1] ? "top" : "bottom",
        text: best[0] ? `better ${arrow}` : `${arrow} better` }] }, { responsive: true, displayModeBar: false });
    list(front, pair);
  };
  across.addEventListener("change", draw);
  up.addEventListener("change", draw);
  draw();
})();
"""
