"""Thresholds of exits on a bundle's own texts."""

import pytest
import torch

from rheostat.core.errors import SettingError
from rheostat.core.exits import ExitRule
from rheostat.measure.encoding import batches
from rheostat.measure.exits import calibrate_exits, classify_split
from rheostat.techniques import attach


def test_thresholds_meet_a_mean_depth_and_the_answers_are_in_order(classifier, reviews) -> None:
    classifier.handle.detach()
    classifier.handle = handle = attach(classifier.model, "tokens", "depth")
    split = reviews.split("validation")
    for tokens in (1.0, 0.4):
        handle.set(tokens=tokens)
        rule = calibrate_exits(classifier, split, [1, 2], 2.0, batch_size=4)
        exited = classify_split(classifier, split, rule, batch_size=5)
        assert 2.0 <= exited.mean_depth < 2.5
        for depth in (1, 2, 3):
            expected = torch.empty_like(exited.logits)
            for rows, inputs in batches(classifier, split, 12):
                with torch.no_grad(), handle.at(depth=depth):
                    expected[torch.tensor(rows)] = classifier.model(**inputs).logits
            left = exited.depths == depth
            torch.testing.assert_close(exited.logits[left], expected[left], atol=1e-4, rtol=1e-4)
    assert classify_split(classifier, split, ExitRule({1: 2.0})).mean_depth == 3
    with pytest.raises(SettingError, match="A mean depth lies between"):
        calibrate_exits(classifier, split, [1], 0.5)
