"""The one place where the command line imports what is slow: torch, Transformers and all that needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rheostat.core.extras import require

if TYPE_CHECKING:
    from rheostat.bundle import Bundle, Prediction, SavedExits
    from rheostat.core.measurement import Measurement
    from rheostat.core.prices import PriceTable
    from rheostat.core.profile import Profile
    from rheostat.core.result import Finding, Result
    from rheostat.core.space import Space
    from rheostat.core.text import Task, TextData
    from rheostat.core.workload import Data, Method, Workload
    from rheostat.measure.calibrate import Progress
    from rheostat.models.families import Family
    from rheostat.search.facts import ModelFacts
    from rheostat.search.loop import Progress as SearchProgress
    from rheostat.search.scenario import Scenario
    from rheostat.techniques.contract import Technique
    from rheostat.train.formats import Table
    from rheostat.train.settings import FinetuneSettings

__all__ = [
    "bench",
    "bench_data",
    "calibrate",
    "choose_exits",
    "duel",
    "encoded_text",
    "export_trial",
    "families",
    "finetune",
    "finetune_settings",
    "hardware",
    "is_main_process",
    "load_bundle",
    "load_data",
    "optimise",
    "predict",
    "read_table",
    "run_once",
    "scenario_text",
    "search_scenario",
    "search_space",
    "set_seed",
    "techniques",
    "text_streamer",
]


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle; see `rheostat.load`."""
    from rheostat.bundle import load

    return load(folder)


def load_data(path: Path, task: str, columns: Mapping[str, Any], *, seed: int) -> TextData:
    """Load text data; see `rheostat.train.data.load_data`."""
    from rheostat.train.data import Columns
    from rheostat.train.data import load_data as load

    return load(path, cast("Task", task), Columns(**columns), seed=seed)


def finetune(settings: Mapping[str, Any], columns: Mapping[str, Any]) -> Path:
    """Fine-tune a model, with progress on stderr; see `rheostat.train.finetune.finetune`."""
    from rheostat.train.finetune import finetune as train

    return train(finetune_settings(settings, columns))


def finetune_settings(settings: Mapping[str, Any], columns: Mapping[str, Any]) -> FinetuneSettings:
    """Return the settings of a run: ``recipe`` is a name or None, ``recipe_changes`` what to change in it.

    ``entry`` is the token dial's, or None for the recipe's: by place for a language model, else by words.
    """
    from rheostat.techniques import TokenPruning
    from rheostat.train.data import Columns
    from rheostat.train.recipes import read_recipe, with_changes
    from rheostat.train.settings import FinetuneSettings

    name, changes, entry = settings["recipe"], settings["recipe_changes"], settings["entry"]
    rest = {key: value for key, value in settings.items() if key not in ("recipe", "recipe_changes", "entry")}
    by = "ends" if rest["task"] == "causal-lm" else "salience"
    made = FinetuneSettings(
        **rest,
        technique=None if entry is None else TokenPruning(entry=entry, entry_scorer=by),
        recipe=None if name is None else read_recipe(name),
        columns=Columns(**columns),
    )
    return replace(made, recipe=with_changes(made.chosen_recipe, changes)) if changes else made


def is_main_process() -> bool:
    """Say whether this process prints: of several that trained together, one does."""
    from rheostat.train.together import is_main

    return is_main()


def calibrate(
    bundle: Bundle,
    data: TextData,
    settings: Mapping[str, Any],
    *,
    progress: Callable[[Progress], None],
    resume: bool,
) -> Profile:
    """Measure a bundle; see `rheostat.measure.calibrate.calibrate`."""
    from rheostat.measure.calibrate import CalibrationSettings
    from rheostat.measure.calibrate import calibrate as measure

    return measure(bundle, data, CalibrationSettings(**settings), progress=progress, resume=resume)


def bench(
    models: Sequence[str],
    workload: Workload,
    configurations: tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]],
    *,
    data: Data | None,
    method: Method,
    options: Mapping[str, Any],
) -> list[Measurement]:
    """Measure what is fixed and a grid on models; see `rheostat.measure.bench.bench.bench`."""
    from rheostat.measure.bench.bench import bench as run
    from rheostat.measure.bench.laboratory import BenchOptions
    from rheostat.measure.bench.plan import configurations as combined

    wanted = combined(*configurations)
    return run(models, workload, wanted, data=data, method=method, options=BenchOptions(**options))


def duel(
    sides: tuple[tuple[str, Mapping[str, Any]], tuple[str, Mapping[str, Any]]],
    workload: Workload,
    *,
    data: Data | None,
    method: Method,
    prices: PriceTable,
) -> tuple[Measurement, Measurement]:
    """Measure two in turn with each other; see `rheostat.measure.bench.bench.duel`."""
    from rheostat.measure.bench.bench import duel as run
    from rheostat.measure.bench.laboratory import BenchOptions

    return run(*sides, workload, data=data, method=method, options=BenchOptions(prices=prices))


def bench_data(path: Path, task: str, columns: Mapping[str, Any], *, seed: int | None, source: str) -> TextData:
    """Load data to measure a model on: where that is a bundle, as it was read for its training."""
    from rheostat.bundle.store import MANIFEST, read_manifest
    from rheostat.train.data import Columns
    from rheostat.train.data import load_data as load

    trained: dict[str, Any] = {}
    if (Path(source) / MANIFEST).is_file():
        trained = read_manifest(Path(source)).get("training", {}).get("settings", {})
    # Where validation was held out of train, only the seed of the training finds the same rows again.
    chosen = seed if seed is not None else int(trained.get("seed", 0))
    named = Columns(**{**trained.get("columns", {}), **columns})
    # The simple models beside it learn from as many rows.
    return load(path, cast("Task", task), named, seed=chosen, limit=trained.get("limit"))


def predict(
    bundle: Bundle,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    settings: Mapping[str, Any],
    **options: Any,
) -> list[Prediction]:
    """Classify texts; see `rheostat.Bundle.predict`."""
    return bundle.predict(texts, pairs, **{**options, **settings})


def choose_exits(
    bundle: Bundle, data: TextData, split: str, settings: Mapping[str, float], **wanted: Any
) -> tuple[SavedExits, Path]:
    """Choose exits at dial settings and write them; see `rheostat.measure.exits.choose_exits`."""
    from rheostat.bundle import write_exits
    from rheostat.measure.exits import choose_exits as choose

    with bundle.handle.at(protect=None, **settings):
        found = choose(bundle, data.split(split), name=split, **wanted)
    return found, write_exits(bundle.folder, found)


def families() -> tuple[Family, ...]:
    """Return the supported model families."""
    from rheostat.models.families import families as known

    return known()


def techniques() -> tuple[type[Technique], ...]:
    """Return the registered techniques."""
    from rheostat.techniques.registry import techniques as registered

    return registered()


def text_streamer(tokenizer: Any) -> Any:
    """Return a streamer that writes new tokens to stdout as they come."""
    from transformers import TextStreamer

    return TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)


def set_seed(seed: int) -> None:
    """Seed torch's random numbers, on every device."""
    import torch

    torch.manual_seed(seed)


def read_table(path: Path) -> Table:
    """Open a Parquet, CSV or JSON-lines file; see `rheostat.train.formats.read_table`."""
    from rheostat.train.formats import read_table as read

    return read(path)


def encoded_text(bundle: Bundle, text: str) -> list[int]:
    """Return the token ids that a bundle makes of a text, cut to what it reads."""
    from rheostat.models.texts import encode_texts

    return list(encode_texts(bundle.tokenizer, [text], None, bundle.max_length).rows[0]["input_ids"])


def run_once(bundle: Bundle, ids: list[int], settings: Mapping[str, Any]) -> None:
    """Run one forward of a bundle's model on one row of token ids at dial settings."""
    import torch

    with bundle.handle.at(**settings), torch.inference_mode():
        bundle.model(input_ids=torch.tensor([ids], device=bundle.model.device))


def hardware() -> dict[str, Any]:
    """Return what torch knows about this machine, and what can be measured on it."""
    from rheostat.measure import probes

    return {
        "machine": probes.machine(),
        "devices": probes.devices(),
        "threads": probes.threads(),
        "processor": probes.processor_abilities(),
        "instruments": probes.instruments(),
        "matrix_products_gflops": probes.matrix_product_rate(),
    }


def search_scenario(path: Path | None, flags: Mapping[str, Any]) -> Scenario:
    """Return the scenario in a file, changed by flags; see `rheostat.search.flags.scenario_from_flags`."""
    module = require("rheostat.search.scenario", extra="search")
    base = None if path is None else module.read_scenario(path)
    made: Scenario = require("rheostat.search.flags", extra="search").scenario_from_flags(flags, base)
    return made


def scenario_text(scenario: Scenario, place: str) -> str:
    """Return a scenario as commented YAML; see `rheostat.search.writing.scenario_text`."""
    text: str = require("rheostat.search.writing", extra="search").scenario_text(scenario, place)
    return text


def search_space(path: Path | None, flags: Mapping[str, Any]) -> tuple[Space, ModelFacts]:
    """Return what a search would try, and what is known about its model; without data, as if there were some."""
    from rheostat.core.machine import machine_facts

    no_data = path is None and flags.get("data") is None
    scenario = search_scenario(path, {**flags, "data": "-"} if no_data else flags)
    data = (
        None
        if no_data
        else load_data(Path(scenario.data.path), scenario.task, scenario.data.columns, seed=scenario.seed)
    )
    labels, splits = (None, None) if data is None else (data.label_names, data.splits)
    facts = require("rheostat.search.facts", extra="search").facts_of(
        scenario.model, scenario.task, labels=labels, device=scenario.measure.device
    )
    space = require("rheostat.search.spaces", extra="search").space_for(scenario, facts, machine_facts(), splits=splits)
    return space, facts


def optimise(
    scenario: Scenario, folder: Path, *, progress: Callable[[SearchProgress], None], after: Path | None
) -> Result:
    """Search for the best combination; see `rheostat.search.optimise.optimise`."""
    found: Result = require("rheostat.search.optimise", extra="search").optimise(
        scenario, folder, progress=progress, after=after
    )
    return found


def export_trial(folder: Path, number: int, out: Path) -> Finding:
    """Write the bundle of a trial; see `rheostat.search.optimise.export_trial`."""
    found: Finding = require("rheostat.search.optimise", extra="search").export_trial(folder, number, out)
    return found
