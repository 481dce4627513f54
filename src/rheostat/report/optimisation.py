"""The study of a search as one self-contained page: no network, no other files."""

from __future__ import annotations

from html import escape
from pathlib import Path

from rheostat.core.errors import MeasurementError
from rheostat.core.files import write_atomically
from rheostat.core.machine import machine_text
from rheostat.report.document import Charts, document, rerun_section
from rheostat.report.leaderboard_details import facts_html, terms_html
from rheostat.report.leaderboard_groups import configuration_text
from rheostat.report.leaderboard_style import SCRIPT as BOARD_SCRIPT
from rheostat.report.leaderboard_style import STYLE as BOARD_STYLE
from rheostat.report.leaderboard_summary import conditions_of, dates_of
from rheostat.report.optimisation_charts import front_chart, front_data, progress_chart, start_pair
from rheostat.report.optimisation_importance import importance_html
from rheostat.report.optimisation_levels import levels_html
from rheostat.report.optimisation_lines import lines_html
from rheostat.report.optimisation_sentences import (
    binding_sentence,
    gain_text,
    limit_rows,
    nearest_point,
    opening,
    simple_sentences,
)
from rheostat.report.optimisation_study import Point, StudyData
from rheostat.report.optimisation_style import SCRIPT
from rheostat.report.optimisation_style import STYLE as OWN_STYLE
from rheostat.report.optimisation_trials import exclusions_html, trials_html
from rheostat.report.page_style import STYLE
from rheostat.report.wording import flat_facts

__all__ = ["optimisation_page", "write_optimisation"]


def write_optimisation(path: Path, study: StudyData) -> None:
    """Write the page of a study as one HTML file of about 5 MB (Plotly's script is inside), whole or not at all.

    Args:
        path: Where the page goes.
        study: What it shows; at least one trial.

    Raises:
        MeasurementError: If there is no trial.
        RheostatError: If plotly is not installed or the file cannot be written.
    """
    write_atomically(Path(path), optimisation_page(study))


def optimisation_page(study: StudyData) -> str:
    """Return the page as text; every word from outside is escaped.

    Args:
        study: What it shows; at least one trial.

    Raises:
        MeasurementError: If there is no trial.
        RheostatError: If plotly is not installed.
    """
    if not study.trials:
        raise MeasurementError("The page of a search shows at least one trial.", given="none", mend="Run the search.")
    charts = Charts()
    parts = [f"<h1>{escape(study.title)}</h1>", *_first(study), _noscript(), _evidence(study)]
    parts += [_front(study, charts), lines_html(study), importance_html(study), levels_html(study)]
    parts += [_progress(study, charts), exclusions_html(study), trials_html(study)]
    parts += [_again(study), _meaning(study), f"<script>{BOARD_SCRIPT}{SCRIPT}</script>"]
    return document(study.title, STYLE + BOARD_STYLE + OWN_STYLE, "\n".join(filter(None, parts)))


def _first(study: StudyData) -> list[str]:
    parts = [f'<p class="lead">{escape(sentence)}</p>' for sentence in opening(study)]
    notes = [sentence for sentence, meets in simple_sentences(study) if not meets]
    if study.is_energy_estimated:
        notes.append(f"Energies are estimated here, not measured{study.energy_source}.")
    notes += [note for note in study.result.notes if note not in notes]
    return [*parts, *(f'<p class="note">{escape(note)}</p>' for note in notes)]


def _noscript() -> str:
    return f'<noscript><p class="note">{_NO_SCRIPT}</p></noscript>'


def _evidence(study: StudyData) -> str:
    point = study.recommended or nearest_point(study)
    if point is None:
        return ""
    binding = binding_sentence(study)
    parts = [_cards(study, point), f"<p>{escape(binding)}</p>" if binding else "", _limits(study, point)]
    return "".join(parts)


def _cards(study: StudyData, point: Point) -> str:
    cards = "".join(
        f"<div><dt>{escape(label)}</dt><dd><strong>{escape(value)}</strong>{escape(more)}</dd></div>"
        for label, value, more in (_card(study, point, name) for name in study.objectives)
    )
    return f'<dl class="cards">{cards}</dl>'


def _card(study: StudyData, point: Point, name: str) -> tuple[str, str, str]:
    here, there = point.metrics.get(name), study.baseline_metrics.get(name)
    title, scale = study.title_of(name), study.scale(name)
    if here is None or here.value is None:
        return title, "not measured", "" if here is None else here.source
    beside = "" if there is None or there.value is None else f", baseline {scale.full(there)}"
    gain = study.gain(point, name)
    if gain is None or name == study.quality:
        return title, scale.text(here), f"95 % interval {scale.ends(here) or 'unknown'}{beside}"
    value, _, ends = gain_text(name, gain).partition(" (")
    spread = f"; gain {ends.removesuffix(')')}" if ends else ""
    return title + study.each(point, name), value, f"{scale.full(here)}{beside}{spread}"


def _limits(study: StudyData, point: Point) -> str:
    rows = limit_rows(study, point)
    if not rows:
        return ""
    heads = ("limit", "asked", "found", "room", "kept", "relaxing it alone")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row.name)}</th><td>{escape(row.asked)}</td><td>{escape(row.found)}</td>'
        f"<td>{escape(row.room)}</td><td>{_yes(row.kept)}</td><td>{escape(row.relaxing)}</td></tr>"
        for row in rows
    )
    of = "the recommended configuration" if study.recommended else "the nearest configuration"
    return (
        f'<h2>The limits</h2><p class="soft">Of {of}, {escape(point.name)}. Overall gain: the geometric mean of what '
        "is gained over the baseline in every objective that is a cost.</p>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="The limits"><table class="limits">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _yes(kept: bool) -> str:
    return '<span class="chip front">kept</span>' if kept else '<span class="chip broken">not kept</span>'


def _front(study: StudyData, charts: Charts) -> str:
    if len([name for name in study.metrics if len(study.measured) > 1]) < 2:
        return ""
    start = start_pair(study)
    picks = "".join(
        f'<label>{words} <select id="front-{letter}">{_options(study, chosen)}</select></label>'
        for words, letter, chosen in zip(("Across", "Upwards"), "xy", start, strict=True)
    )
    drawn = charts.add(front_chart(study), "Every configuration over two metrics; the table of all trials holds the "
                       "same numbers.", _FRONT + _REQUESTS * study.batches)  # fmt: skip
    return (
        f'<section id="front"><h2>The front in any two metrics</h2><div class="choose">{picks}</div>{drawn}'
        f'<div class="found" id="front-found" aria-live="polite"></div>'
        f'<script type="application/json" id="front-data">{front_data(study)}</script></section>'
    )


def _options(study: StudyData, chosen: str) -> str:
    return "".join(
        f'<option value="{escape(name)}"{" selected" if name == chosen else ""}>{escape(study.title_of(name))}</option>'
        for name in study.metrics
        if study.group.kind(name).better != "neither"
    )


def _progress(study: StudyData, charts: Charts) -> str:
    if len(study.trials) < 2:
        return ""
    figure, data = progress_chart(study)
    drawn = charts.add(figure, f"After each trial: {figure.layout.yaxis.title.text}.", _PROGRESS)
    return (
        '<section id="progress"><h2>Progress of the search</h2><div class="choose"><label>Over <select '
        'id="progress-over"><option value="trials">trials</option><option value="minutes">minutes</option></select>'
        f'</label></div>{drawn}<script type="application/json" id="progress-data">{data}</script></section>'
    )


def _again(study: StudyData) -> str:
    facts = [("trials", str(study.result.trials)), ("took", f"{study.result.seconds / 60:.1f} minutes")]
    facts += [("ended", study.result.ended or "not yet")]
    measured = [trial.measurement for trial in study.trials]
    facts += [("measured", dates)] if (dates := dates_of(measured)) else []
    facts += conditions_of(measured)
    first = measured[0]
    tables = [("This search", facts), ("Scenario", flat_facts(study.scenario))]
    tables += [(heading, flat_facts(table)) for heading, table in study.facts.items()]
    tables += [("Machine", flat_facts(first.machine)), ("Model", flat_facts(first.model))]
    tables += [("Workload", flat_facts(first.workload)), ("The default configuration", flat_facts(study.space.default))]
    return (
        f"{rerun_section(study.rerun)}<h2>Machine, model, data and versions</h2>"
        f"<p>{escape(machine_text(first.machine))}</p>{''.join(facts_html(heading, rows) for heading, rows in tables)}"
    )


def _meaning(study: StudyData) -> str:
    default = configuration_text(study.space.default)
    return (
        f"{terms_html([study.group])}<p>Intervals are 95 % intervals. The baseline is the default configuration "
        f"({escape(default)}); gains and relative limits refer to it, and the interval of a gain is the widest that "
        "both allow. A configuration is <em>infeasible</em> where it breaks a limit, by its measured value; a metric "
        "that is missing breaks its limit. It is on the <em>front</em> where it keeps the limits and no other one that "
        "does is at least as good in every objective and better in one; <em>dominated</em> where it keeps the limits "
        "and is not. Where a configuration was measured again, its numbers are those of the result: of all repeats "
        "together, or of the measurement that confirmed it.</p>"
    )


_NO_SCRIPT = "The charts need JavaScript; the tables hold the same numbers."
_FRONT = (
    "Each mark is one configuration, bars are 95 % intervals; the dotted line joins what is best in these two alone. "
    "Filled circles are on the front of all objectives. Point at one for its configuration; a click in the legend "
    "hides a series. Crosses at the bottom lack one of the two values."
)
_REQUESTS = " Latencies are those of a whole request, of however many rows."
_PROGRESS = (
    "How much of the objective space was covered after each trial by what keeps the limits, as a share of the end; "
    "where nothing keeps them, by how much the nearest breaks them. "
    "Symbols say who proposed a trial; open ones used a part of the training or of the data and so cover nothing, "
    "crosses failed."
)
