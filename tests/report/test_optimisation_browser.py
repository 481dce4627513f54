"""The page of a search in a real browser: a script in a copy of it tries it out, Chromium prints what that found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rheostat.report.optimisation import optimisation_page
from tests.report.studied import study
from tests.report.test_leaderboard_browser import BROWSER, WIDTHS, visit

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)")

TRY_OUT = """<script>
addEventListener("load", () => setTimeout(() => {
  const at = (id) => document.getElementById(id), all = (words) => [...document.querySelectorAll(words)];
  const front = document.querySelector("#front .plotly-graph-div"), set = (id, value) => {
    at(id).focus();
    at(id).value = value;
    at(id).dispatchEvent(new Event("change"));
    return document.activeElement === at(id) && at(id).checkVisibility();
  };
  const drawn = () => ({
    x: front.layout.xaxis.title.text, y: front.layout.yaxis.title.text, log: front.layout.xaxis.type,
    counts: Object.fromEntries(front.data.map((one) => [one.meta, one.x.length])),
    marks: front.querySelectorAll(".scatterlayer .point").length, said: at("front-found").textContent,
    whiskers: front.querySelectorAll(".errorbars path").length, better: front.layout.annotations[0].text,
    hover: front.data.find((one) => one.meta === "recommended").customdata[0],
    levels: front.layout.shapes.map((one) => one.label.text),
    line: front.data[0].x.map((x, place) => [x, front.data[0].y[place]]),
    words: front.closest("[role=img]").getAttribute("aria-label"),
  });
  const fronts = [drawn()], reached = [];
  reached.push(set("front-x", "memory_peak_host"), set("front-y", "energy_per_sample"));
  fronts.push(drawn());
  set("front-x", "latency_p95");
  set("front-y", "accuracy");
  fronts.push(drawn());

  const lines = () => all("#lines .line").filter((one) => getComputedStyle(one).display !== "none").length;
  const shown = [lines()];
  reached.push(set("lines-show", "front"));
  shown.push(lines());
  set("lines-show", "all");
  reached.push(set("lines-pick", "41"));
  const picked = [at("lines-picked").textContent, all("#lines .picked").length];
  const ticks = all("#lines .tick").map((one) => one.getBoundingClientRect());

  const progress = document.querySelector("#progress .plotly-graph-div"), ends = [Math.max(...progress.data[0].x)];
  reached.push(set("progress-over", "minutes"));
  ends.push(Math.max(...progress.data[0].x), progress.layout.xaxis.title.text);

  const table = document.querySelector("table.board"), heads = [...table.tHead.rows[0].cells];
  const column = heads.findIndex((head) => head.textContent.startsWith("accuracy"));
  heads[column].querySelector("button").click();
  const sorted = [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.v ?? null);
  const link = document.querySelector("#front-found a"), row = document.querySelector(link.hash);
  row.querySelector("a").click();
  const target = document.querySelector(row.querySelector("a").hash);

  setTimeout(() => parent.postMessage({
    width: innerWidth, page: document.documentElement.scrollWidth, room: document.documentElement.clientWidth, problems,
    fronts, reached, shown, picked, ends, sorted, opened: target.checkVisibility(),
    ticks: [Math.min(...ticks.map((one) => one.left)), Math.max(...ticks.map((one) => one.right))],
    lead: document.querySelector(".lead").getBoundingClientRect().bottom,
    charts: all(".plotly-graph-div").map((chart) => chart.querySelector(".main-svg").getBoundingClientRect().right),
    unreachable: all("select, .board button, summary, .scroll").filter((one) => one.tabIndex < 0).length,
    heights: all("figure, #lines, .effects, .reasons, .limits").map((one) => one.clientHeight),
  }, "*"), 300);
}, 1500));
</script>"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    return visit(tmp_path_factory.mktemp("browser"), optimisation_page(study()), TRY_OUT)


@pytest.fixture(params=WIDTHS)
def view(request: pytest.FixtureRequest, found: dict[int, dict[str, Any]]) -> dict[str, Any]:
    return found[request.param]


def test_no_error_and_nothing_is_loaded(view: dict[str, Any]) -> None:
    assert view["problems"] == []


def test_the_page_fits_and_the_recommendation_is_there_without_scrolling(view: dict[str, Any]) -> None:
    assert view["page"] == view["room"]
    assert max(view["charts"]) <= view["room"]
    assert len(view["charts"]) == 2
    assert view["ticks"][0] >= 0
    assert view["ticks"][1] <= view["room"]
    assert view["lead"] < 600
    assert min(view["heights"]) > 40


def test_the_front_shows_every_standing_with_whiskers(view: dict[str, Any]) -> None:
    first = view["fronts"][0]
    counts = {name: count for name, count in first["counts"].items() if name != "line"}
    data = study()

    assert first["x"] == "latency, p95 (ms), lower is better"
    assert first["y"] == "accuracy (%), higher is better"
    assert first["log"] == "log"
    assert first["better"].endswith("better")
    assert sum(counts.values()) == len(data.points)
    assert counts["recommended"] == counts["baseline"] == 1
    assert counts["missing"] == sum(not point.trial.ok for point in data.points)
    assert first["marks"] >= len(data.points)
    assert first["whiskers"] >= 2 * len(data.measured)
    assert first["levels"] == ["linear model on TF-IDF"]
    assert first["hover"].startswith("<b>#41 recipe distilled, tokens 0.6")
    assert "energy a sample (estimated) 168" in first["hover"]


def test_the_front_of_two_metrics_is_that_of_what_keeps_the_limits(view: dict[str, Any]) -> None:
    points = [point for point in study().points if point.feasible]
    pairs = [(1e3 * (point.value("latency_p95") or 0), 100 * (point.value("accuracy") or 0)) for point in points]
    best = [
        pair
        for pair in pairs
        if not any(other[0] <= pair[0] and other[1] >= pair[1] and other != pair for other in pairs)
    ]

    assert view["fronts"][0]["line"] == [pytest.approx(pair, abs=1e-4) for pair in sorted(best)]
    assert view["fronts"][0]["said"].startswith(f"{len(best)} configurations keep the limits and are on the front of")


def test_both_drop_downs_change_the_chart_and_back(view: dict[str, Any]) -> None:
    first, other, again = view["fronts"]

    assert other["x"] == "peak memory (MiB), lower is better"
    assert other["y"] == "energy a sample (estimated) (mJ), lower is better"
    assert other["log"] == "linear"
    assert other["words"] != first["words"]
    assert other["said"] != first["said"]
    assert other["levels"] == []
    assert again == first


def test_lines_can_be_filtered_and_picked_out(view: dict[str, Any]) -> None:
    data = study()
    front = [point for point in data.points if point.standing in ("front", "recommended", "baseline")]

    assert view["shown"] == [len(data.points), len(front)]
    assert view["picked"][0].startswith("#41 recipe distilled, tokens 0.6")
    assert view["picked"][1] == 1


def test_progress_is_told_over_trials_and_over_minutes(view: dict[str, Any]) -> None:
    data = study()

    assert view["ends"][0] == 61
    assert view["ends"][1] == pytest.approx(sum(trial.seconds for trial in data.trials) / 60)
    assert view["ends"][2].startswith("minutes")


def test_the_table_sorts_and_a_name_opens_its_details(view: dict[str, Any]) -> None:
    values = [float(value) for value in view["sorted"] if value is not None]

    assert values == sorted(values, reverse=True)
    assert view["sorted"][len(values) :] == [None] * (len(view["sorted"]) - len(values))
    assert view["opened"]


def test_everything_is_reached_without_a_mouse(view: dict[str, Any]) -> None:
    assert view["reached"] == [True] * 5
    assert view["unreachable"] == 0


def test_a_page_with_one_trial_has_no_error(tmp_path: Path) -> None:
    data = study()
    script = """<script>addEventListener("load", () => setTimeout(() => parent.postMessage(
        { width: innerWidth, problems }, "*"), 500));</script>"""
    result = replace(data.result, status="infeasible", recommended=None, front=(), binding=None)
    alone = replace(data, trials=data.trials[:1], result=result)

    for view in visit(tmp_path, optimisation_page(alone), script).values():
        assert view["problems"] == []
