import pytest
import torch

from rheostat.core.errors import SettingError
from rheostat.measure.macs import Plan, macs_ratio
from rheostat.measure.model_cost import cost_of
from rheostat.measure.workload import Classification, Prompts, sample
from rheostat.models.salience import set_salience
from rheostat.techniques import TokenPruning, attach
from tests.measure.conftest import make_split


def prompts(bundle, book, **changes):
    options = {"lengths": (20, 4), "count": (6, 5), "batch_size": 2, **changes}
    return Prompts(bundle, book.split("validation"), **options)


def test_a_sample_keeps_order_and_seed():
    split = make_split(20, 1)
    found = sample(split, 6, seed=3)
    assert found.texts == sample(split, 6, seed=3).texts
    positions = [split.texts.index(text) for text in found.texts]
    assert positions == sorted(positions)
    assert len(found) == 6
    assert found.texts != sample(split, 6, seed=4).texts
    assert sample(split, None) is sample(split, 20) is split


def test_the_same_batches_run_at_every_setting(classifier):
    work = Classification(classifier, make_split(12, 2), timed=7, batch_size=4)
    seen = []
    hook = classifier.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append((inputs["input_ids"].shape, classifier.handle.settings["tokens"])),
        with_kwargs=True,
    )
    work.run({"tokens": 1.0})
    work.run({"tokens": 0.5})
    hook.remove()
    assert [shape for shape, _ in seen[:2]] == [shape for shape, _ in seen[2:]]
    assert [tokens for _, tokens in seen] == [1.0, 1.0, 0.5, 0.5]
    assert sum(shape[0] for shape, _ in seen[:2]) == 7


def test_what_does_not_enter_is_not_counted(classifier):
    model = classifier.model
    set_salience(model, torch.rand(model.config.vocab_size, generator=torch.Generator().manual_seed(0)))
    classifier.handle.detach()
    classifier.handle = attach(model, TokenPruning(floor=2, entry=0.8))
    lengths = [len(ids) for ids in classifier.tokenizer(sample(make_split(12, 2), 7).texts)["input_ids"]]
    expected = macs_ratio(cost_of(model), lengths, Plan(0.3, floor=2, protected=1, entry=0.8))
    work = Classification(classifier, make_split(12, 2), timed=7, batch_size=4)
    assert work.macs_ratio({"tokens": 0.3}) == expected


def test_counted_work_is_that_of_the_real_tokens(classifier):
    work = Classification(classifier, make_split(12, 2), timed=7, batch_size=4)
    lengths = [len(ids) for ids in classifier.tokenizer(sample(make_split(12, 2), 7).texts)["input_ids"]]
    expected = macs_ratio(cost_of(classifier.model), lengths, Plan(0.5, floor=2))
    assert work.macs_ratio({"tokens": 0.5}) == expected
    assert work.macs_ratio({"tokens": 1.0}) == 1.0
    assert work.describe() == {
        "timed": "forward",
        "timed_rows": 7,
        "timed_tokens": sum(lengths),
        "quality_rows": 12,
    }


def test_prompts_run_up_to_the_first_token(language_model, book):
    work, shapes = prompts(language_model, book), []
    hook = language_model.model.lm_head.register_forward_hook(lambda *call: shapes.append(call[2].shape))
    work.run({"tokens": 0.5})
    hook.remove()
    assert shapes == [(2, 1, 65), (2, 1, 65), (1, 1, 65)]
    expected = macs_ratio(cost_of(language_model.model), [20] * 5, Plan(0.5, floor=2))
    assert work.macs_ratio({"tokens": 0.5}) == pytest.approx(expected)
    assert work.describe()["quality_rows"] == 6


def test_quality_of_a_language_model_is_against_its_plain_self(language_model, book):
    work = prompts(language_model, book)
    plain = work.quality({"tokens": 1.0})
    assert plain.values["agreement"] == 1.0
    pruned = work.quality({"tokens": 0.2})
    assert pruned.values["agreement"] < 1.0
    assert work.quality({"tokens": 1.0}) == plain


def test_a_prompt_of_no_tokens_is_refused(language_model, book):
    with pytest.raises(SettingError, match="-3 and 51 tokens"):
        prompts(language_model, book, lengths=(-3, 51))


def test_nothing_is_learnt_meanwhile(classifier):
    work = Classification(classifier, make_split(3, 2), timed=3, batch_size=4)
    modes = []
    hook = classifier.model.register_forward_pre_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    work.run({"tokens": 0.5})
    hook.remove()
    assert modes == [False]
