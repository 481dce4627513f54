"""Running a bundle: predictions and generation at any dial setting."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch

from rheostat.bundle.decoding import Decoded, decode, refuse_depth, refuse_options
from rheostat.bundle.exits import SavedExits
from rheostat.bundle.generation import generation_options
from rheostat.bundle.store import BundleInfo
from rheostat.core.errors import BundleError, DataError, SettingError
from rheostat.core.exits import ExitRule
from rheostat.models.sources import length_limit
from rheostat.models.texts import EncodedTexts, encode_texts, pad_rows
from rheostat.techniques.row_exits import classify_with_exits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rheostat.core.profile import Profile
    from rheostat.techniques import Handle

__all__ = ["Bundle", "Prediction"]

_log = logging.getLogger("rheostat")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a classifier says about one text.

    Attributes:
        label: The most probable class.
        probability: Its probability, in [0, 1].
        probabilities: The probability of every class, in the order of the bundle's ``label_names``.
        truncated: Whether the text was longer than the bundle reads, so that its end was not seen.
        depth: How many blocks ran for it, with exits; None without.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    truncated: bool = False
    depth: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Bundle:
    """A model with its tokenizer, its dials and its profile. Made by `rheostat.load`.

    Attributes:
        folder: Where it lies.
        model: The model, an ordinary Transformers model in evaluation mode.
        tokenizer: Its tokenizer.
        handle: What turns the dials.
        profile: What was measured on a machine; None where ``rheostat calibrate`` has not run yet.
        manifest: The content of ``bundle.json``.
        info: The typed part of the manifest.
        exits: When a row or a token leaves early; None where ``rheostat exits`` has not run yet.
    """

    folder: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    handle: Handle
    profile: Profile | None
    manifest: Mapping[str, Any]
    info: BundleInfo
    exits: SavedExits | None = None

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
        # A profile is measured with every other dial at neutral.
        return {**self.handle.neutral(), **self.profile.settings_for(speed)}

    def predict(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        speed: float | None = None,
        batch_size: int = 16,
        exits: bool | ExitRule = False,
        **dials: float,
    ) -> list[Prediction]:
        """Classify texts.

        Args:
            texts: The texts.
            pairs: The second text of each, for a task on pairs.
            speed: Multiple of the plain model's speed; needs a profile.
            batch_size: Texts in one forward; those of similar length go together.
            exits: Whether each text leaves the model as soon as the bundle's exits let it, or a rule for that.
            dials: Dial settings for this call, such as ``tokens=0.5``; where none is given, those in force
                hold.

        Returns:
            One prediction a text, in the order given; it does not depend on the other texts.

        Raises:
            SettingError: If a setting is unknown or out of range.
            DataError: If the texts are no lists of strings of the same length.
            BundleError: If the bundle is no classifier, or has no profile for a speed or no exits.

        Example:
            >>> bundle.predict(["Dear winner, ..."], tokens=0.5)[0].label  # doctest: +SKIP
            'spam'
        """
        names = self._needs("classification", "predict", "generate").label_names or ()
        _check_texts(texts, pairs)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise SettingError("A batch size is a whole number from 1.", given=repr(batch_size))
        rule = self._rule(exits)
        with self._at(speed, dials):
            encoded = encode_texts(self.tokenizer, texts, pairs, self.max_length)
            found = self._probabilities(encoded, batch_size, rule)
        if cut := sum(encoded.truncated):
            told = "%d of %d texts are longer than %d tokens: their end was not read."
            _log.warning(told, cut, len(texts), self.max_length)
        rows = zip(found, encoded.truncated, strict=True)
        return [_prediction(names, row, truncated, depth) for (row, depth), truncated in rows]

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
        exits: bool | ExitRule = False,
        draft_depth: int | None = None,
        **options: Any,
    ) -> str | list[str]:
        """Continue prompts: their hidden states are pruned once, while the prompt is read.

        Args:
            prompts: A prompt, or several.
            speed: Multiple of the plain model's speed; needs a profile.
            max_new_tokens: Most tokens that are written.
            streamer: A Transformers streamer that gets the tokens as they come; one prompt only.
            exits: Whether tokens leave the model early; see `decode`. Prompts are continued one after another then.
            draft_depth: How many blocks draft what all verify; see `decode`. One prompt after another, too.
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
        if exits or draft_depth is not None:
            if streamer is not None:
                raise SettingError("A streamer follows plain writing.", given="a streamer with exits or drafts")
            more: dict[str, Any] = {"speed": speed, "max_new_tokens": max_new_tokens, **options}
            texts = [self.decode(row, exits=exits, draft_depth=draft_depth, **more).text for row in rows]
            return texts[0] if isinstance(prompts, str) else texts
        dials, rest = generation_options(self.handle.dials, self.model, options)
        if streamer is not None and len(rows) != 1:
            raise SettingError("A streamer follows one prompt.", given=f"{len(rows)} prompts")
        with self._at(speed, dials), torch.inference_mode():
            written = self._written(rows, max_new_tokens, {**rest, "streamer": streamer}) if rows else []
        return written[0] if isinstance(prompts, str) else written

    def decode(
        self,
        prompt: str,
        *,
        exits: bool | ExitRule = False,
        draft_depth: int | None = None,
        max_new_tokens: int = 64,
        speed: float | None = None,
        **options: Any,
    ) -> Decoded:
        """Continue one prompt greedily by exits or by drafts, and say how that went.

        Args:
            prompt: The prompt.
            exits: Whether each token leaves the model as soon as the bundle's exits let it, or a rule for that; see
                `rheostat.techniques.token_exits`.
            draft_depth: How many blocks draft, in [1, blocks); all of them verify, so that the text is that of the
                whole model; see `rheostat.techniques.speculation`.
            max_new_tokens: Most tokens that are written.
            speed: Multiple of the plain model's speed; needs a profile. It prunes the prompt.
            options: Dial settings other than ``depth``, and ``eos_token_id``. Sampling, several beams and whatever else
                changes which token is chosen are refused, also where the model's own generation configuration asks for
                them: ``do_sample=False`` overrules it.

        Raises:
            SettingError: If not one of both is asked for, an option is refused, or the text would not fit the model.
            BundleError: If the bundle is a classifier, or has no exits or no profile for a speed.

        Example:
            >>> bundle.decode("Call me", draft_depth=6).acceptance  # doctest: +SKIP
            0.71
        """
        self._needs("causal-lm", "decode", "predict")
        how = self._rule(exits) or draft_depth
        if how is None or (exits and draft_depth is not None):
            raise SettingError(
                "Text is decoded by exits or by drafts.",
                given="both" if exits else "neither",
                mend="Give exits=True or draft_depth=n.",
            )
        _check_texts([prompt], None)
        dials, rest = generation_options(self.handle.dials, self.model, options)
        refuse_options(self.model, rest)
        encoded = encode_texts(self.tokenizer, [prompt])
        self._check_fits(encoded, max_new_tokens)
        ids = torch.tensor([encoded.rows[0]["input_ids"]], device=self.model.device)
        with self._at(speed, dials), torch.inference_mode():
            refuse_depth(self.handle)
            tokens, told = decode(self.handle, ids, how, new=max_new_tokens, ends=rest.get("eos_token_id"))
        return Decoded(str(self.tokenizer.decode(tokens, skip_special_tokens=True)), len(tokens), **told)

    def _rule(self, exits: bool | ExitRule) -> ExitRule | None:
        if isinstance(exits, ExitRule):
            return exits
        if exits and self.exits is None:
            raise BundleError(
                "When a text leaves early is known once exits were chosen on validation texts.",
                given=f"exits for {self.folder}, which has none",
                mend=f"Run: rheostat exits {self.folder}",
            )
        return self.exits.rule if exits and self.exits is not None else None

    def _at(self, speed: float | None, dials: Mapping[str, float]) -> AbstractContextManager[Handle]:
        return self.handle.at(protect=None, **self.settings(speed, **dials))

    def _needs(self, task: str, method: str, other: str) -> BundleInfo:
        if self.task != task:
            raise BundleError(
                f"{method} is for {task} bundles.", given=f"{self.task} ({self.folder})", mend=f"Use {other}."
            )
        return self.info

    def _probabilities(
        self, encoded: EncodedTexts, batch_size: int, rule: ExitRule | None
    ) -> list[tuple[list[float], int | None]]:
        if rule is not None:
            refuse_depth(self.handle)
        order = sorted(range(len(encoded)), key=lambda row: -len(encoded.rows[row]["input_ids"]))
        found: dict[int, tuple[list[float], int | None]] = {}
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = pad_rows(self.tokenizer, [encoded.rows[row] for row in chosen])
            inputs = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
            depths: list[int | None] = [None] * len(chosen)
            with torch.inference_mode():
                if rule is None:
                    logits = self.model(**inputs).logits
                else:
                    exited = classify_with_exits(self.handle, rule, **inputs)
                    logits, depths = exited.logits, exited.depths.tolist()
            answers = zip(logits.float().softmax(-1).tolist(), depths, strict=True)
            found.update(zip(chosen, answers, strict=True))
        return [found[row] for row in range(len(encoded))]

    def _check_fits(self, encoded: EncodedTexts, new: int) -> None:
        longest = max(len(row["input_ids"]) for row in encoded.rows)
        limit = length_limit(self.model, self.tokenizer)
        if limit is not None and longest + new > limit:
            raise SettingError(
                f"A prompt and its continuation fit the model's {limit} positions.",
                given=f"a prompt of {longest} tokens and max_new_tokens={new}",
                mend="Shorten the prompt or write less.",
            )

    def _written(self, prompts: list[str], new: int, options: dict[str, Any]) -> list[str]:
        encoded = encode_texts(self.tokenizer, prompts)
        self._check_fits(encoded, new)
        side, self.tokenizer.padding_side = self.tokenizer.padding_side, "left"
        try:
            batch = pad_rows(self.tokenizer, encoded.rows)
        finally:
            self.tokenizer.padding_side = side
        inputs = {name: batch[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        model: Any = self.model
        tokens = model.generate(**inputs, max_new_tokens=new, pad_token_id=self.tokenizer.pad_token_id, **options)
        return list(self.tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def _prediction(names: Sequence[str], row: Sequence[float], truncated: bool, depth: int | None) -> Prediction:
    table = dict(zip(names, row, strict=True))
    label = max(table, key=table.__getitem__)
    return Prediction(label, table[label], table, truncated, depth)


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
