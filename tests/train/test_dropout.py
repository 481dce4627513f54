"""Dropout of a model's own layers: every layer gets the rate, however it holds it."""

import pytest
import torch
from torch import nn

from rheostat.testing import TINY, tiny_model
from rheostat.train.dropout import set_dropout


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.attention_dropout, self.scale, self.dropout_layers = nn.Dropout(0.3), 0.2, 0.5, 3


def test_layers_and_numbers_are_set_and_nothing_else() -> None:
    layer = Layer()
    set_dropout(nn.Sequential(nn.Linear(2, 2), layer), 0.1)
    assert (layer.dropout.p, layer.attention_dropout, layer.scale, layer.dropout_layers) == (0.1, 0.1, 0.5, 3)


@pytest.mark.parametrize("family", sorted(TINY))
def test_without_dropout_training_computes_what_evaluation_does(family: str) -> None:
    model = tiny_model(family)
    ids = torch.randint(5, 30, (2, 9), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    own = model.config.to_dict()
    set_dropout(model, 0.5)
    assert not torch.allclose(model.train()(**batch).last_hidden_state, model.eval()(**batch).last_hidden_state)
    set_dropout(model, 0.0)
    torch.testing.assert_close(model.train()(**batch).last_hidden_state, model.eval()(**batch).last_hidden_state)
    assert model.config.to_dict() == own
