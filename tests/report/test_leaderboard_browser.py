"""The page in a real browser: a script in a copy of it tries it out, and Chromium prints what that found."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from rheostat.report.leaderboard import leaderboard_html
from tests.report.measured import everything

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
WIDTHS = (1280, 400)
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)")

# The policy lets nothing in that is not in the file: the browser reports every attempt.
WATCH = """<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<script>
window.problems = [];
addEventListener("securitypolicyviolation", (event) => problems.push("loads " + event.blockedURI));
addEventListener("error", (event) => problems.push(String(event.message || event.target.src)), true);
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
for (const level of ["error", "warn"]) console[level] = (...words) => problems.push(level + ": " + words.join(" "));
</script>"""

TRY_OUT = """<script>
addEventListener("load", () => setTimeout(() => {
  const table = document.querySelector("table.board"), heads = [...table.tHead.rows[0].cells];
  const place = (word) => heads.findIndex((head) => head.textContent.startsWith(word));
  const orders = [], names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].querySelector("a").textContent);
  const press = (word) => {
    const column = place(word), button = heads[column].querySelector("button");
    button.focus();
    button.click();
    orders.push({
      column: word, direction: heads[column].getAttribute("aria-sort"), focused: document.activeElement === button,
      visible: button.checkVisibility(),
      sorted: heads.filter((head) => head.hasAttribute("aria-sort")).length, names: names(),
      values: [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.v ?? null),
    });
  };
  const before = names();
  ["speed-up", "speed-up", "latency, p50", "latency, p50", "status", "configuration"].forEach(press);
  const box = table.parentElement, hidden = heads[place("latency, p99")];
  box.scrollLeft = 300;
  const sticky = table.tBodies[0].rows[0].cells[0].getBoundingClientRect().left - box.getBoundingClientRect().left;
  const more = [getComputedStyle(hidden).display];
  document.querySelector(".pick input").click();
  more.push(getComputedStyle(hidden).display);
  const link = table.querySelector("tbody a"), target = document.getElementById(link.hash.slice(1));
  const shown = [target.checkVisibility()];
  link.click();
  setTimeout(() => {
    shown.push(target.checkVisibility());
    const charts = [...document.querySelectorAll(".plotly-graph-div")];
    parent.postMessage({
      width: innerWidth, page: document.documentElement.scrollWidth,
      room: document.documentElement.clientWidth, problems, before, orders, sticky, more, shown,
      scrolls: box.scrollWidth > box.clientWidth, last: table.tBodies[1]?.rows[1]?.cells[0].textContent ?? null,
      charts: charts.map((chart) => chart.querySelector(".main-svg").getBoundingClientRect().right),
    }, "*");
  }, 200);
}, 1500));
</script>"""

FRAME = """<!DOCTYPE html><body>{frames}<script>
const found = [];
addEventListener("message", (event) => {{
  found.push(event.data);
  if (found.length === {count}) {{
    const note = document.createElement("pre");
    note.id = "found";
    note.textContent = JSON.stringify(found);
    document.body.replaceChildren(note);
  }}
}});
</script></body>"""


def visit(folder: Path, page: str, script: str = TRY_OUT) -> dict[int, dict[str, Any]]:
    """Open the page at each width and return what its script found; frames are as narrow as asked, windows are not."""
    watched = page.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{script}</body>")
    (folder / "page.html").write_text(watched, encoding="utf-8")
    frames = "".join(f'<iframe src="page.html" width="{width}" height="900"></iframe>' for width in WIDTHS)
    (folder / "frame.html").write_text(FRAME.format(frames=frames, count=len(WIDTHS)), encoding="utf-8")
    done = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
            "--no-first-run", "--disable-background-networking", "--window-size=1400,2000",
            "--virtual-time-budget=20000", "--enable-logging=stderr", "--v=0", "--dump-dom",
            (folder / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    answer = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert answer is not None, done.stderr[-2000:]
    return {one["width"]: one for one in json.loads(unescape(answer[1]))}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    page = leaderboard_html(everything(), title="In a browser", rerun=("rheostat bench",))
    return visit(tmp_path_factory.mktemp("browser"), page)


@pytest.fixture(params=WIDTHS)
def view(request: pytest.FixtureRequest, found: dict[int, dict[str, Any]]) -> dict[str, Any]:
    return found[request.param]


def test_no_error_and_nothing_is_loaded(view: dict[str, Any]) -> None:
    assert view["problems"] == []


def test_the_page_is_no_wider_than_the_window_but_tables_scroll(view: dict[str, Any]) -> None:
    assert view["page"] == view["room"]
    assert view["scrolls"]
    assert view["sticky"] == pytest.approx(0, abs=1)


def test_charts_are_drawn_and_fit(view: dict[str, Any]) -> None:
    assert len(view["charts"]) == 4
    assert max(view["charts"]) <= view["room"]


def test_a_click_on_a_head_sorts_and_a_second_one_turns_around(view: dict[str, Any]) -> None:
    orders = view["orders"]

    assert [(order["column"], order["direction"]) for order in orders] == [
        ("speed-up", "ascending"),
        ("speed-up", "descending"),
        ("latency, p50", "ascending"),
        ("latency, p50", "descending"),
        ("status", "ascending"),
        ("configuration", "ascending"),
    ]
    for order in orders[:4]:
        numbers = [float(value) for value in order["values"] if value is not None]
        assert numbers == sorted(numbers, reverse=order["direction"] == "descending")
        assert len(numbers) == 5
        assert order["values"][5:] == [None] * 3
    assert orders[4]["values"] == sorted(orders[4]["values"])
    assert orders[0]["names"] != view["before"] == orders[1]["names"]
    assert view["last"] == "linear model on TF-IDF"


def test_heads_are_reached_by_keyboard_and_one_alone_is_the_sorted_one(view: dict[str, Any]) -> None:
    assert all(order["focused"] == order["visible"] and order["sorted"] == 1 for order in view["orders"])
    # A narrow page has no room for statuses: they stand with the names.
    assert [order["column"] for order in view["orders"] if not order["visible"]] == ["status"] * (view["width"] < 640)


def test_configurations_sort_by_their_knobs(view: dict[str, Any]) -> None:
    assert view["orders"][5]["names"] == [
        "bf16, tokens 1",
        "fp16, tokens 1",
        "fp32, tokens 0.9",
        "fp32, tokens 1",
        "int4, tokens 0.5",
        "int4, tokens 1",
        "int8, tokens 0.5",
        "int8, tokens 0.8",
    ]


def test_a_tick_shows_more_columns_and_a_name_opens_its_details(view: dict[str, Any]) -> None:
    assert view["more"][0] == "none"
    assert view["more"][1] == "table-cell"
    assert view["shown"] == [False, True]


@pytest.mark.parametrize(
    "page", sorted(RESULTS.glob("leaderboard*/leaderboard.html")), ids=lambda page: page.parent.name
)
def test_the_committed_pages_work_in_the_browser(page: Path, tmp_path: Path) -> None:
    for width, view in visit(tmp_path, page.read_text(encoding="utf-8")).items():
        assert view["problems"] == []
        assert view["page"] == view["room"] <= width
        first, second = ([float(value) for value in order["values"]] for order in view["orders"][:2])
        assert first == sorted(first) == second[::-1]
        assert len(first) >= 12
        assert max(view["charts"]) <= view["room"]
