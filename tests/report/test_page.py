from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rheostat.core.profile import Profile
from rheostat.report.page import Example, ReportData, page_html, write_report

NASTY = "<script>alert('x')</script> & \"quotes\""
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Checker(HTMLParser):
    """Collects what a page would load and which tags were left open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.labels: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href") and value]
        self.labels += [value for name, value in attrs if name == "aria-label" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def example(text: str = "good") -> Example:
    return Example(["[CLS]", text, "film", "[SEP]"], [[0, 1, 3], [0, 3]], "tokens 0.7", answer=NASTY)


@pytest.fixture(scope="module")
def page(profile: Profile) -> str:
    curves = {NASTY: profile.points}
    return page_html(ReportData(NASTY, profile, example(NASTY), curves, (NASTY,), (f"run {NASTY}",)))


def without_scripts(page: str) -> str:
    return re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_loads_nothing_and_closes_its_tags(page: str) -> None:
    checker = Checker()
    checker.feed(page)

    assert checker.loads == []
    assert checker.open == []
    assert "@import" not in without_scripts(page)
    assert "url(" not in without_scripts(page)


def test_text_from_outside_is_escaped(page: str) -> None:
    assert "alert('x')" not in without_scripts(page)
    assert without_scripts(page).count("&lt;script&gt;") >= 4
    # Plotly's data stands in a script: a closing tag in it would end the script.
    assert "</script> & " not in page


def test_the_script_is_inside_once(page: str) -> None:
    assert page.count("Copyright 2012-") == 1 or page.count("plotly.js v") == 1
    assert 3e6 < len(page) < 1e7


def test_all_numbers_are_in_the_table(page: str) -> None:
    for number in (
        "1.90x (1.80 to 1.99)",
        "211 ms",
        "2.20x",
        "89.50 % (88.50 to 90.50)",
        "50.00 %",
        "85.00 %",
    ):
        assert number in page


def test_charts_say_in_words_what_they_show(page: str) -> None:
    checker = Checker()
    checker.feed(page)

    assert any("accuracy over measured speed-up: 1.00x" in label for label in checker.labels)
    assert any("block 1 75%, block 2 50%" in label for label in checker.labels)


def test_a_bundle_that_was_never_measured_says_so() -> None:
    page = page_html(ReportData("New", example=example()))

    assert "has not been measured yet" in page
    assert "All points" not in page
    assert "Which tokens went on" in page


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    write_report(path, ReportData("New"))

    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
