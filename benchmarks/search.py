"""How many measurements does a search need? Strategies on spaces whose every configuration is measured.

    python -m benchmarks.search compare SPACE.json --seeds 10 --at 15 30 60
    python -m benchmarks.search ablate SPACE.json --seeds 10
    python -m benchmarks.search limits SPACE.json --scenarios 200
    python -m benchmarks.search score SPACE.json

SPACE.json is a recorded space (`rheostat.search.recorded`); `synthetic` and `stand-in` are made by formula
(`benchmarks.search_spaces`).

`compare`: share of the true hypervolume after so many measurements, the default configuration counted as the first
for everyone. Objectives are scaled so that the best of the space is 0 and the worst 1; the reference is the worst of
each. Ours gets what it would get in `rheostat optimize`: guesses by rule, which axes an objective can depend on, and
what the cost model predicts, as recorded (by rule of thumb for spaces made by formula); it is asked for five
configurations at a time, and for one. Optuna's samplers come as they are, except that a
configuration they ask for again is answered from memory and not counted; they are asked for one at a time, which
suits them better. `tpe, same guesses` starts with the guesses by rule, too.

`ablate`: measurements until 0.90 and 0.95 are reached, without one part at a time. The second half counts seconds as
recorded: of measuring, and of training, which the first configuration that needs a training pays. Without dials as
free candidates every configuration pays for a training of its own. With a first look a quarter of the rows is
measured first, and the rest only where nothing surely dominates it; a look costs a quarter of the measuring and is
not credited when the whole follows.

`limits`: generated scenarios of one to three limits, every fourth of them infeasible. Counted are returned
configurations that pass a limit, infeasible scenarios not named so, and feasible ones in which nothing was found.

`score`: the highest score of AE-LLM (gains in latency of a row, memory and energy) in the space for each allowed loss
of accuracy, in points: first among all configurations, then among those with the default batch and threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, commit
from benchmarks.search_runs import LOW, OURS, Variant, needed, recommended, scenarios, shares
from benchmarks.search_spaces import GOALS, stand_in, synthetic
from rheostat.core.files import write_atomically
from rheostat.core.goals import Goals, Objective
from rheostat.core.knob import Value
from rheostat.core.score import ALLOWED_LOSS, efficiency_score
from rheostat.search.recorded import RecordedSpace
from rheostat.search.strategies.surrogate import Settings

COMPARED = (
    Variant("random", "random", hints=(), width=1),
    Variant("tpe", "tpe", hints=(), width=1),
    Variant("tpe, same guesses", "tpe", hints=("guesses",), width=1),
    Variant("nsga2", "nsga2", hints=(), width=1),
    Variant("ours"),
    Variant("ours, one at a time", width=1),
)

FULL = Variant("all of it")
ABLATED = (
    FULL,
    replace(FULL, name="without warm start", hints=("depends", "predict")),
    replace(FULL, name="without cost model", hints=("guesses", "depends")),
    replace(FULL, name="without shared outcomes", hints=("guesses", "predict")),
    replace(FULL, name="without all three", hints=()),
    replace(FULL, name="without uncertainty", settings=Settings(spread=0.0)),
    replace(FULL, name="with all the uncertainty", settings=Settings(spread=1.0)),
    replace(FULL, name="without boosted trees", settings=Settings(boosted=False)),
)
PRICED = replace(FULL, name="all of it, with prices", hints=(*FULL.hints, "price"))
BY_SECONDS = (
    PRICED,
    replace(PRICED, name="with a first look", low=LOW),
    replace(PRICED, name="without prices", hints=FULL.hints),
    replace(PRICED, name="without dials as free candidates", free_dials=False),
)
TARGETS = (0.90, 0.95)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=("compare", "ablate", "limits", "score"))
    options.add_argument("space", help="a recorded space, or: synthetic, stand-in")
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--at", type=int, nargs="+", default=[15, 30, 60])
    options.add_argument("--scenarios", type=int, default=200)
    options.add_argument("--most", type=int, help="measurements of a search; 150 for ablate, 40 for limits")
    options.add_argument("--objectives", nargs="+", default=[one.metric for one in GOALS.objectives])
    options.add_argument("--out", type=Path, help="where the JSON goes")
    return options.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    goals = Goals(tuple(Objective(name) for name in options.objectives))
    recorded = read(options.space)
    started = commit()
    rows = {"compare": compare, "ablate": ablate, "limits": limits, "score": score}[options.what](
        recorded, goals, options
    )
    print_table(rows)
    name = Path(options.space).stem
    out = options.out or RESULTS / f"search-{options.what}-{name}.json"
    about = {
        "commit": started,
        "space": name,
        "configurations": recorded.space.size,
        "machine": dict(recorded.machine),
        "objectives": options.objectives,
        "seeds": options.seeds,
    }
    write_atomically(out, json.dumps({**about, "rows": rows}, indent=2) + "\n")
    print(f"\nWritten: {out}")


def read(name: str) -> RecordedSpace:
    made = {"synthetic": synthetic, "stand-in": stand_in}
    return made[name]() if name in made else RecordedSpace.read(Path(name))


def compare(recorded: RecordedSpace, goals: Goals, options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for variant in COMPARED:
        found = [shares(recorded, goals, variant, seed, options.at) for seed in range(options.seeds)]
        row: dict[str, Any] = {"strategy": variant.name}
        for at, values in zip(options.at, zip(*found, strict=True), strict=True):
            row[f"at {at}"] = statistics.fmean(values)
            row[f"least at {at}"] = min(values)
        rows.append({**row, "runs": found})
    return rows


def ablate(recorded: RecordedSpace, goals: Goals, options: argparse.Namespace) -> list[dict[str, Any]]:
    most = options.most or 150
    rows = []
    for unit, variants in (("measurements", ABLATED), ("seconds", BY_SECONDS)):
        for variant in variants:
            found = [needed(recorded, goals, variant, seed, TARGETS, most) for seed in range(options.seeds)]
            row: dict[str, Any] = {"search": variant.name, "unit": unit}
            for target, reached in zip(TARGETS, zip(*found, strict=True), strict=True):
                # Who never gets there counts as worse than everyone: medians bear that, means do not.
                numbers = [float("inf") if one is None else one[unit == "seconds"] for one in reached]
                middle = statistics.median(numbers)
                row[f"to {target}"] = None if middle == float("inf") else middle
                row[f"not to {target}"] = sum(one is None for one in reached)
            rows.append({**row, "runs": found})
    return rows


def limits(recorded: RecordedSpace, goals: Goals, options: argparse.Namespace) -> list[dict[str, Any]]:
    most = options.most or 40
    baseline = recorded.baseline.metrics
    row = {"scenarios": 0, "infeasible": 0, "named so": 0, "returned": 0, "passing a limit": 0, "missed": 0}
    variant = replace(FULL, name=OURS)
    for number, (limited, possible) in enumerate(scenarios(recorded, goals, options.scenarios, seed=0)):
        found = recommended(recorded, limited, variant, number, most)
        row["scenarios"] += 1
        row["infeasible"] += not possible
        row["named so"] += not possible and found is None
        row["missed"] += possible and found is None
        row["returned"] += found is not None
        if found is not None:
            row["passing a limit"] += limited.excess(recorded.row(found).metrics, baseline) > 0.0
    return [{**row, "measurements": most}]


def score(recorded: RecordedSpace, goals: Goals, options: argparse.Namespace) -> list[dict[str, Any]]:
    plain, baseline, rows = recorded.space.default, recorded.baseline.metrics, []
    deployment = [axis.name for axis in recorded.space.axes if axis.stage == "deployment"]
    for among in ("all", "the default deployment"):
        measured = [
            (one := row.configuration, efficiency_score(row.metrics, baseline, (_rows(one), _rows(plain))))
            for row in recorded.rows
            if among == "all" or all(row.configuration[name] == plain[name] for name in deployment)
        ]
        for lost in (ALLOWED_LOSS, 2.0, 3.0):
            kept = [(c, one) for c, one in measured if one.value and one.lost is not None and one.lost <= lost + 1e-9]
            configuration, best = max(kept, key=lambda pair: pair[1].value or 0.0)
            told = {"among": among, "points lost at most": lost, "score": best.value, **best.gains, "lost": best.lost}
            rows.append({**told, "energy from": best.energy, **configuration})
    return rows


def _rows(configuration: Mapping[str, Value]) -> int:
    return int(configuration.get("batch", 1))


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    names = [name for name in rows[0] if name != "runs"]
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(_cell(row[name]) for name in names) + " |")


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
