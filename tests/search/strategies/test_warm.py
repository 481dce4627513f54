import pytest

from rheostat.core.errors import SettingError
from rheostat.core.goals import Goals, Limit, Objective
from rheostat.core.space import Axis, Conflict, Space
from rheostat.search.strategies.warm import RULES, dependencies, fitting, guesses, is_quality

SPACE = Space(
    (
        Axis("recipe", "finetuning", ("plain", "uniform"), "plain", ordered=False),
        Axis("adapter", "finetuning", ("full", "lora", "rslora"), "full", ordered=False),
        Axis("rank", "finetuning", (8, 16, 64), 16, when=(("adapter", ("lora", "rslora")),)),
        Axis("tokens", "inference", (0.1, 0.2, 0.35, 0.5, 0.7, 1.0), 1.0),
        Axis("depth", "inference", (0.5, 0.75, 1.0), 1.0),
        Axis("precision", "inference", ("fp32", "bf16", "int8", "int4"), "fp32", ordered=False),
        Axis("batch", "deployment", (1, 8, 32), 8),
        Axis("threads", "deployment", (1, 2), 2),
    )
)


def goals(*objectives, limits=()):
    return Goals(tuple(map(Objective, objectives)), tuple(limits))


def test_latency_takes_tokens_and_depth_and_low_precision():
    first = guesses(SPACE, goals("latency_p50"))[0]
    assert first == {
        "recipe": "uniform",
        "adapter": "full",
        "tokens": 0.5,
        "depth": 0.75,
        "precision": "int8",
        "batch": 8,
        "threads": 2,
    }


def test_memory_takes_fewest_bits_and_the_smallest_batch():
    first = guesses(SPACE, goals("memory_peak_host"))[0]
    assert (first["precision"], first["batch"], first["tokens"]) == ("int4", 1, 1.0)


def test_accuracy_keeps_the_dials_neutral_and_trains_all_weights():
    (only,) = guesses(SPACE, goals("accuracy"))
    assert (only["tokens"], only["depth"], only["adapter"], only["precision"]) == (1.0, 1.0, "full", "int8")


def test_limits_come_before_objectives():
    limited = goals("accuracy", "latency_p50", limits=[Limit("memory_peak_host", "most", 5e8)])
    assert guesses(SPACE, limited)[0] == guesses(SPACE, goals("memory_peak_host"))[0]


def test_guesses_are_distinct_canonical_and_may_run():
    everything = goals("accuracy", "latency_p50", "memory_peak_host", "energy_per_sample")
    found = guesses(SPACE, everything)
    assert len({SPACE.key(one) for one in found}) == len(found) == len(RULES)
    assert found == [SPACE.canonical(one) for one in found]
    tight = Space(SPACE.axes, (Conflict((("precision", ("int8",)), ("tokens", (0.5,))), "no"),))
    assert all(tight.conflict(one) is None for one in guesses(tight, everything))
    assert len(guesses(tight, everything)) < len(found)


def test_what_needs_no_training_comes_first_where_the_model_is_taken_as_it_is():
    recipes = Axis("recipe", "finetuning", ("none", "uniform"), "none", ordered=False)
    space = Space((recipes, *SPACE.axes[3:]))
    wanted = goals("latency_p50", "memory_peak_host")
    trained, found = guesses(space, wanted), guesses(space, wanted, as_it_is=True)
    free = [one for one in found if one["recipe"] == "none"]
    assert found[: len(free)] == free
    assert [(one["tokens"], one["precision"]) for one in free[:2]] == [(0.7, "int8"), (0.5, "int8")]
    assert [one for one in found if one["recipe"] != "none"] == [one for one in trained if one["recipe"] != "none"]
    assert len({space.key(one) for one in found}) == len(found) > len(trained)


def test_a_space_without_the_axes_has_no_guess_but_the_default():
    assert guesses(Space((Axis("other", "inference", (1, 2), 1),)), goals("latency_p50")) == []


def test_quality_does_not_depend_on_the_deployment_nor_costs_on_the_recipe():
    found = dependencies(SPACE, goals("accuracy", "latency_p50", limits=[Limit("arc/acc", "least", 0.5)]))
    assert found[0] == found[2] == {"recipe", "adapter", "rank", "tokens", "depth", "precision"}
    assert found[1] == {axis.name for axis in SPACE.axes} - {"recipe"}


def test_what_mixes_both_depends_on_everything():
    assert dependencies(SPACE, goals("compression_disk_quality"))[0] == {axis.name for axis in SPACE.axes}


def test_quality_is_known_by_name():
    assert is_quality("perplexity")
    assert not is_quality("latency_p95")
    with pytest.raises(SettingError, match="known name"):
        is_quality("speed of light")


def test_configurations_of_an_earlier_study_are_fitted():
    earlier = [
        {"tokens": 0.45, "precision": "int8", "cache": "int8"},
        {"tokens": 0.5, "precision": "int8"},
        {"precision": "nf4"},
    ]
    assert fitting(SPACE, earlier) == [SPACE.canonical({"tokens": 0.5, "precision": "int8"})]
