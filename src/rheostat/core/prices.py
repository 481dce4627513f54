"""What an hour of a machine costs: a small table that the user sets. Nothing has a price by default."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rheostat.core.errors import SettingError

__all__ = ["PriceTable", "read_prices"]

_CURRENCY: Final = "currency"
_MEND: Final = 'Write for instance {"cpu": 0.10, "currency": "USD"}: the price of an hour, and its currency.'


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices of an hour by device.

    Args:
        prices: Device (``cpu``, ``cuda``, ``NVIDIA H100 80GB HBM3`` ...) to price of an hour; at least 0.
        currency: Three capital letters, as in ISO 4217.

    Raises:
        SettingError: If a price is no finite number from 0 on, or the currency is no such code.

    Example:
        >>> PriceTable.from_json({"cpu": 0.10, "currency": "USD"}).hour("cpu")
        0.1
    """

    prices: dict[str, float] = field(default_factory=dict)
    currency: str = "USD"

    def __post_init__(self) -> None:
        currency = self.currency
        if not (isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isupper()):
            raise SettingError(
                "A currency is a code of three capital letters.", given=repr(currency), mend='Write for instance "EUR".'
            )
        for device, price in self.prices.items():
            _check_price(device, price)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PriceTable:
        """Return the table that plain data holds: a price a device, and ``currency``.

        Raises:
            SettingError: If it is no such data.
        """
        if not isinstance(data, Mapping):
            raise SettingError("A price table is an object of devices and prices.", given=repr(data), mend=_MEND)
        if _CURRENCY not in data:
            raise SettingError("A price table names its currency.", given=dict(data), mend=_MEND)
        return cls({name: price for name, price in data.items() if name != _CURRENCY}, data[_CURRENCY])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, as `from_json` reads it."""
        return {**self.prices, _CURRENCY: self.currency}

    def hour(self, *devices: str) -> float | None:
        """Return the price of an hour of the first device that has one; None where none has.

        Args:
            devices: Names from the narrowest to the widest: ``"NVIDIA L4", "cuda"``. ``cuda:0`` is also ``cuda``.
        """
        names = [name for device in devices for name in (device, device.partition(":")[0])]
        return next((float(self.prices[name]) for name in names if name in self.prices), None)


def read_prices(path: Path) -> PriceTable:
    """Read a price table from a JSON file.

    Raises:
        SettingError: If there is no such file, or it holds something else; naming the file.
    """
    try:
        return PriceTable.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if isinstance(error, SettingError):
            raise SettingError(error.rule, given=f"{error.given} in {path}", mend=error.mend) from error
        raise SettingError("Prices are read from a JSON file.", given=f"{path} ({error})", mend=_MEND) from error


def _check_price(device: str, price: object) -> None:
    number = isinstance(price, int | float) and not isinstance(price, bool)
    if not device or not number or not (math.isfinite(float(price)) and float(price) >= 0):  # type: ignore[arg-type]
        raise SettingError(
            "The price of an hour is a finite number from 0 on, under a device's name.",
            given=f"{device!r}: {price!r}",
            mend=_MEND,
        )
