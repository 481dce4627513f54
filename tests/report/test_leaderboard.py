from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rheostat.core.errors import MeasurementError
from rheostat.core.metrics import METRICS
from rheostat.report.leaderboard import leaderboard_html, write_leaderboard
from tests.report.measured import BUSY, NASTY, classifiers, everything, generators

VOID = {"meta", "br", "img", "link", "input", "hr", "line", "circle"}


class Reader(HTMLParser):
    """Collects what the page would load, its ids and links, and its first table as cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.rows: list[list[dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        marks = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [marks["id"]] if "id" in marks else []
        if tag == "a":
            self.links.append(marks["href"])
        else:
            self.loads += [marks[name] for name in ("src", "href") if name in marks]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append({**marks, "text": ""})

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "tr" in self.open and ({"td", "th"} & set(self.open)):
            self.rows[-1][-1]["text"] += data


def without_scripts(page: str) -> str:
    return re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def table_of(page: str) -> dict[str, dict[str, dict[str, str]]]:
    """The first table: row name to column name to cell."""
    first = re.search(r'<table class="board">.*?</table>', page, flags=re.DOTALL)
    assert first is not None
    head, *rows = read(first[0]).rows
    names = [re.split(r"(lower|higher) is better", cell["text"])[0] for cell in head]
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return {
        re.split("plain model|front|out of memory|timed out|failed", row["configuration"]["text"])[0].strip(): row
        for row in found
    }


@pytest.fixture(scope="module")
def page() -> str:
    return leaderboard_html(everything(), title=NASTY, rerun=(f"run {NASTY}",))


@pytest.fixture(scope="module")
def table(page: str) -> dict[str, dict[str, dict[str, str]]]:
    return table_of(page)


def test_the_page_loads_nothing_closes_its_tags_and_has_each_id_once(page: str) -> None:
    reader = read(page)

    assert reader.loads == []
    assert reader.open == []
    assert "url(" not in without_scripts(page)
    assert "@import" not in without_scripts(page)
    assert len(set(reader.ids)) == len(reader.ids)
    assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)


def test_text_from_outside_is_escaped(page: str) -> None:
    assert "alert('x')" not in without_scripts(page)
    assert without_scripts(page).count("&lt;script&gt;") >= 10
    # Plotly's data stands in a script: a closing tag in it would end the script.
    assert "</script> & " not in page


def test_plotly_is_inside_once_for_all_charts(page: str) -> None:
    assert page.count("plotly.js v") == 1
    assert len(re.findall(r'class="plotly-graph-div"', page)) == 4


def test_failures_stay_in_the_table_with_their_reason(table: dict[str, dict[str, dict[str, str]]]) -> None:
    assert table["int4, tokens 1"]["status"]["text"] == "out of memoryneeds 3.1 GiB"
    assert table["int4, tokens 0.5"]["status"]["text"] == "timed outno result after 900 s"
    assert table["fp16, tokens 1"]["status"]["text"] == f"failed{NASTY}"
    assert "data-v" not in table["fp16, tokens 1"]["speed-up"]


def test_speed_ups_say_what_they_mean(table: dict[str, dict[str, dict[str, str]]]) -> None:
    assert table["int8, tokens 0.5"]["speed-up"]["text"] == "4.00x3.92 to 4.08"
    assert table["fp32, tokens 0.9"]["speed-up"]["text"].endswith("tied with plain")
    assert table["bf16, tokens 1"]["speed-up"]["text"].endswith("slower than plain")


def test_each_number_shows_unit_spread_and_source(table: dict[str, dict[str, dict[str, str]]]) -> None:
    cell = table["int8, tokens 0.8"]["mean memory"]

    assert cell["text"] == "477\N{NO-BREAK SPACE}MiBs467 to 486"
    assert cell["title"] == (
        "mean memory: 477\N{NO-BREAK SPACE}MiB, 95 % interval 467 to 486; sampled over time (100 Hz)"
    )
    assert table["int8, tokens 0.8"]["energy a sample"]["text"].startswith("1.50\N{NO-BREAK SPACE}Je")
    assert float(table["int8, tokens 0.8"]["latency, p50"]["data-v"]) == 0.2


def test_unavailable_shows_the_reason_and_sorts_as_nothing(
    page: str, table: dict[str, dict[str, dict[str, str]]]
) -> None:
    cell = table["bf16, tokens 1"]["energy a sample"]

    assert cell["text"] == "unavailablethe counter <stopped>"
    assert "data-v" not in cell
    assert "energy a token" not in table["bf16, tokens 1"]
    assert "Unavailable in every row: energy a token (no energy counter)." in page


def test_simple_models_stand_at_the_end(table: dict[str, dict[str, dict[str, str]]]) -> None:
    assert list(table)[-2:] == ["always the commonest class", "linear model on TF-IDF"]
    assert table["linear model on TF-IDF"]["accuracy"]["text"] == "87.50\N{NO-BREAK SPACE}%"
    assert table["linear model on TF-IDF"]["speed-up"]["text"] == "\N{EN DASH}"


def test_only_columns_that_some_row_has_are_there() -> None:
    columns = next(iter(table_of(leaderboard_html(generators(), title="T")).values()))

    assert list(columns) == [
        "configuration", "precision", "status", "speed-up", "perplexity", "time to first token", "time per token",
    ]  # fmt: skip


def test_heads_are_buttons_and_say_how_the_table_is_sorted(page: str) -> None:
    heads = re.findall(r"<th scope=\"col\"[^>]*data-first[^>]*>.*?</th>", page)

    assert all(head.count('<button type="button">') == 1 for head in heads)
    assert page.count('aria-sort="descending"') - page.count('[aria-sort="descending"]') == 2


def test_every_number_is_reachable_without_a_mouse(page: str) -> None:
    details = page.partition("Every number with its source (8 configurations)")[2].partition("</section>")[0]

    for words in ("VmHWM", "sampled over time (100 Hz)", "estimated (CodeCarbon)", "unavailable (no energy counter)"):
        assert words in details


def test_the_head_tells_machine_dates_method_and_warnings(page: str) -> None:
    head = page.partition("<section")[0]

    assert "Test CPU, 2 cores, torch 2.13.0, transformers 5.23.0" in head
    assert "2026-11-20" in head
    assert "rounds 10; threads within an operation 2" in head
    assert f'{BUSY} <span class="soft">(1 of 12 measurements)' in head
    assert "9 ok" not in head
    assert "8 ok, 1 out of memory, 1 timed out, 2 failed" in head


def test_each_metric_shown_is_defined(page: str) -> None:
    section = page.partition("What the metrics mean")[2]

    for name in ("speedup", "accuracy", "perplexity", "energy_per_token"):
        assert METRICS[name].meaning.replace("'", "&#x27;") in section
    assert METRICS["macs"].meaning not in section


def test_cards_and_remarks_give_the_result(page: str) -> None:
    section = page.partition('id="group-1"')[2].partition("</section>")[0]

    assert "fastest within 1 point</dt><dd><strong>2.00x</strong>int8, tokens 0.8: accuracy 89.50" in section
    assert "fastest measured</dt><dd><strong>4.00x</strong>" in section
    assert "Slower than the plain model on this machine: bf16, tokens 1." in section
    assert "A simple model does as well" not in section


def test_a_simple_model_that_does_as_well_is_said_so() -> None:
    rows = classifiers()
    rows[0].conditions["baselines"]["linear"] = {"accuracy": 0.95}

    for one in rows[1:]:
        one.conditions.pop("baselines", None)
    assert "A simple model does as well here: linear model on TF-IDF reaches 95.00" in leaderboard_html(rows, title="T")


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "leaderboard.html"
    write_leaderboard(path, classifiers(), title="T")

    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [file.name for file in path.parent.iterdir()] == ["leaderboard.html"]


def test_nothing_is_no_leaderboard(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"A leaderboard shows at least one measurement\. Given: none\."):
        write_leaderboard(tmp_path / "x.html", [], title="T")
