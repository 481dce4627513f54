"""Running a bundle: predictions and generation at any dial setting."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch

from rheostat.bundle.generation import generation_options
from rheostat.bundle.store import MANIFEST, PROFILE, BundleInfo, damaged, info_of, read_manifest, verify_files
from rheostat.core.errors import BundleError, DataError, RheostatError, SettingError
from rheostat.core.machine import machine_facts
from rheostat.core.profile import Profile, machine_difference
from rheostat.models.sources import length_limit, load_model
from rheostat.models.texts import EncodedTexts, encode_texts, pad_rows
from rheostat.techniques import Depth, Shortening, attach, technique_from_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rheostat.techniques import Handle

__all__ = ["Bundle", "Prediction", "load"]

_log = logging.getLogger("rheostat")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a classifier says about one text.

    Attributes:
        label: The most probable class.
        probability: Its probability, in [0, 1].
        probabilities: The probability of every class, in the order of the bundle's ``label_names``.
        truncated: Whether the text was longer than the bundle reads, so that its end was not seen.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    truncated: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Bundle:
    """A model with its tokenizer, its dials and its profile. Made by `load`.

    Attributes:
        folder: Where it lies.
        model: The model, an ordinary Transformers model in evaluation mode.
        tokenizer: Its tokenizer.
        handle: What turns the dials.
        profile: What was measured on a machine; None where ``rheostat calibrate`` has not run yet.
        manifest: The content of ``bundle.json``.
        info: The typed part of the manifest.
    """

    folder: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    handle: Handle
    profile: Profile | None
    manifest: Mapping[str, Any]
    info: BundleInfo

    def __repr__(self) -> str:
        return f"Bundle({str(self.folder)!r}, task={self.task!r}, {self.handle!r})"

    @property
    def task(self) -> str:
        """``"classification"`` or ``"causal-lm"``."""
        return self.info.task

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """The classes, in the order of the model's outputs; None for a language model."""
        return self.info.label_names

    @property
    def max_length(self) -> int:
        """How many tokens `predict` reads at most."""
        return self.info.max_length

    def settings(self, speed: float | None = None, **dials: float) -> dict[str, float]:
        """Return the dial settings for a speed, or the given ones.

        Args:
            speed: Multiple of the plain model's speed, in the range of the profile.
            dials: Dial settings, instead of a speed.

        Raises:
            SettingError: If both are given, or the speed is out of range.
            BundleError: If a speed is given and there is no profile.
        """
        if speed is None:
            return dials
        if dials:
            raise SettingError(
                "A speed sets the dials itself.",
                given=f"speed={speed} and {', '.join(f'{name}={value}' for name, value in dials.items())}",
                mend="Give either the speed or the dials.",
            )
        if self.profile is None:
            raise BundleError(
                "Which dial setting reaches a speed is known once the bundle was measured on this machine.",
                given=f"speed={speed} for {self.folder}, which has no profile",
                mend=f"Run: rheostat calibrate {self.folder}",
            )
        return self.profile.settings_for(speed)

    def predict(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        speed: float | None = None,
        batch_size: int = 16,
        **dials: float,
    ) -> list[Prediction]:
        """Classify texts.

        Args:
            texts: The texts.
            pairs: The second text of each, for a task on pairs.
            speed: Multiple of the plain model's speed; needs a profile.
            batch_size: Texts in one forward; those of similar length go together.
            dials: Dial settings for this call, such as ``tokens=0.5``; where none is given, those in force
                hold.

        Returns:
            One prediction a text, in the order given; it does not depend on the other texts.

        Raises:
            SettingError: If a setting is unknown or out of range.
            DataError: If the texts are no lists of strings of the same length.
            BundleError: If the bundle is no classifier, or has no profile for a speed.

        Example:
            >>> bundle.predict(["Dear winner, ..."], tokens=0.5)[0].label  # doctest: +SKIP
            'spam'
        """
        names = self._needs("classification", "predict", "generate").label_names or ()
        _check_texts(texts, pairs)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise SettingError("A batch size is a whole number from 1.", given=repr(batch_size))
        with self._at(speed, dials):
            encoded = encode_texts(self.tokenizer, texts, pairs, self.max_length)
            probabilities = self._probabilities(encoded, batch_size)
        if cut := sum(encoded.truncated):
            rule = "%d of %d texts are longer than %d tokens: their end was not read."
            _log.warning(rule, cut, len(texts), self.max_length)
        rows = zip(probabilities, encoded.truncated, strict=True)
        return [_prediction(names, row, truncated) for row, truncated in rows]

    @overload
    def generate(self, prompts: str, **options: Any) -> str: ...

    @overload
    def generate(self, prompts: Sequence[str], **options: Any) -> list[str]: ...

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        speed: float | None = None,
        max_new_tokens: int = 64,
        streamer: Any = None,
        **options: Any,
    ) -> str | list[str]:
        """Continue prompts: their hidden states are pruned once, while the prompt is read.

        Args:
            prompts: A prompt, or several.
            speed: Multiple of the plain model's speed; needs a profile.
            max_new_tokens: Most tokens that are written.
            streamer: A Transformers streamer that gets the tokens as they come; one prompt only.
            options: Dial settings, and options of Transformers' ``generate`` such as ``do_sample=True``.

        Returns:
            The continuation (without the prompt), or a list of them.

        Raises:
            SettingError: If an option is unknown or out of range, or the text would not fit the model.
            BundleError: If the bundle is a classifier, or has no profile for a speed.

        Example:
            >>> bundle.generate("Call me", tokens=0.7, max_new_tokens=8)  # doctest: +SKIP
            ' Ishmael.'
        """
        self._needs("causal-lm", "generate", "predict")
        rows = [prompts] if isinstance(prompts, str) else list(prompts)
        _check_texts(rows, None)
        dials, rest = generation_options(self.handle.dials, self.model, options)
        if streamer is not None and len(rows) != 1:
            raise SettingError("A streamer follows one prompt.", given=f"{len(rows)} prompts")
        with self._at(speed, dials), torch.inference_mode():
            written = self._written(rows, max_new_tokens, {**rest, "streamer": streamer}) if rows else []
        return written[0] if isinstance(prompts, str) else written

    def _at(self, speed: float | None, dials: Mapping[str, float]) -> AbstractContextManager[Handle]:
        return self.handle.at(protect=None, **self.settings(speed, **dials))

    def _needs(self, task: str, method: str, other: str) -> BundleInfo:
        if self.task != task:
            raise BundleError(
                f"{method} is for {task} bundles.", given=f"{self.task} ({self.folder})", mend=f"Use {other}."
            )
        return self.info

    def _probabilities(self, encoded: EncodedTexts, batch_size: int) -> list[list[float]]:
        order = sorted(range(len(encoded)), key=lambda row: -len(encoded.rows[row]["input_ids"]))
        found: dict[int, list[float]] = {}
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = pad_rows(self.tokenizer, [encoded.rows[row] for row in chosen])
            with torch.inference_mode():
                logits = self.model(**{name: tensor.to(self.model.device) for name, tensor in batch.items()}).logits
            found.update(zip(chosen, logits.float().softmax(-1).tolist(), strict=True))
        return [found[row] for row in range(len(encoded))]

    def _written(self, prompts: list[str], new: int, options: dict[str, Any]) -> list[str]:
        encoded = encode_texts(self.tokenizer, prompts)
        longest, limit = (
            max(len(row["input_ids"]) for row in encoded.rows),
            length_limit(self.model, self.tokenizer),
        )
        if limit is not None and longest + new > limit:
            raise SettingError(
                f"A prompt and its continuation fit the model's {limit} positions.",
                given=f"a prompt of {longest} tokens and max_new_tokens={new}",
                mend="Shorten the prompt or write less.",
            )
        side, self.tokenizer.padding_side = self.tokenizer.padding_side, "left"
        try:
            batch = pad_rows(self.tokenizer, encoded.rows)
        finally:
            self.tokenizer.padding_side = side
        inputs = {name: batch[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        model: Any = self.model
        tokens = model.generate(**inputs, max_new_tokens=new, pad_token_id=self.tokenizer.pad_token_id, **options)
        return list(self.tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def load(folder: str | Path, *, verify: bool = True, device: str | None = None) -> Bundle:
    """Load a bundle.

    Args:
        folder: The bundle's folder.
        verify: Whether to check the SHA-256 of every file; without, only that each is there.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, ...; None for the accelerator if there is one, else the CPU.

    Raises:
        BundleError: If it is missing, damaged, or of a newer version; naming the file.

    Warns:
        UserWarning: If its profile was measured on another kind of machine.

    Example:
        >>> bundle = rheostat.load("spam-bundle")  # doctest: +SKIP
    """
    path = Path(folder)
    manifest = read_manifest(path)
    verify_files(path, manifest["files"], contents=verify)
    info = info_of(manifest)
    try:
        technique = technique_from_json(manifest["technique"])
        loaded = load_model(str(path.absolute()), info.task, dtype="auto")
    except RheostatError as error:
        raise BundleError(
            "A bundle names a technique and a model that can be loaded.",
            given=f"{path}: {error}",
            mend=f"Check {MANIFEST} and config.json, or install the package that the technique comes from.",
        ) from error
    model: Any = loaded.model
    model = model.to(_device(device))
    # A bundle names one technique; depth takes no setting of its own, so that every bundle has its dial.
    handle = attach(model, technique, *([] if isinstance(technique, Shortening) else [Depth()]))
    bundle = Bundle(path, model, loaded.tokenizer, handle, _profile(path), manifest, info)
    _warn_of_other_machine(bundle)
    return bundle


def _profile(folder: Path) -> Profile | None:
    path = folder / PROFILE
    if not path.exists():
        return None
    try:
        return Profile.from_json(path.read_text(encoding="utf-8"))
    except (BundleError, OSError, ValueError) as error:
        raise damaged(path, str(error)) from error


def _warn_of_other_machine(bundle: Bundle) -> None:
    if bundle.profile is None:
        return
    difference = machine_difference(bundle.profile.device, machine_facts())
    if difference:
        warnings.warn(
            f"The profile of {bundle.folder} was measured on another machine ({difference}), so a given "
            f"speed may not be reached. To measure this one, run: rheostat calibrate {bundle.folder}",
            UserWarning,
            stacklevel=3,
        )


def _device(device: str | None) -> torch.device:
    if device is None:
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        # Making a tensor there is the only way to learn that the device exists.
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise SettingError(
            "A device is one that PyTorch has here.",
            given=f"{device!r}: {str(error).splitlines()[0]}",
            mend="Use device='cpu', or leave it out.",
        ) from error


def _prediction(names: Sequence[str], row: Sequence[float], truncated: bool) -> Prediction:
    table = dict(zip(names, row, strict=True))
    label = max(table, key=table.__getitem__)
    return Prediction(label, table[label], table, truncated)


def _check_texts(texts: object, pairs: object) -> None:
    for what, given in (("texts", texts), ("pairs", pairs)):
        if given is None and what == "pairs":
            continue
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise DataError(
                f"The {what} are a list of strings.", given=type(given).__name__, mend="Put them in a list."
            )
        strange = next((text for text in given if not isinstance(text, str)), None)
        if strange is not None:
            raise DataError(f"Each of the {what} is a string.", given=repr(strange))
    if isinstance(pairs, Sequence) and isinstance(texts, Sequence) and len(pairs) != len(texts):
        raise DataError("Every text has its pair.", given=f"{len(texts)} texts and {len(pairs)} pairs")
