"""Dropout of a model's own layers."""

from __future__ import annotations

from torch import nn

__all__ = ["set_dropout"]

_LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def set_dropout(model: nn.Module, rate: float) -> None:
    """Give every dropout of a model one rate.

    Some layers hold a rate as a number that they hand to a function, attention above all, so numbers of a module whose
    name speaks of dropout are set, too. The configuration keeps the model's own rates: what is saved is as before.

    Args:
        model: Changed in place. Adapters that are put on it later have a dropout of their own.
        rate: Probability with which a number is dropped, in [0, 1).
    """
    for module in model.modules():
        if isinstance(module, _LAYERS):
            module.p = rate
        for name, value in list(vars(module).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, rate)
