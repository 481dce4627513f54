import json

import pytest

from rheostat.core.errors import SettingError
from rheostat.core.prices import PriceTable, read_prices


def test_a_table_goes_to_json_and_back(tmp_path):
    table = PriceTable.from_json({"cpu": 0.10, "NVIDIA L4": 1, "currency": "EUR"})
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(table.to_json()))
    assert read_prices(file) == table
    assert table.currency == "EUR"


def test_the_first_name_that_has_a_price_counts():
    table = PriceTable({"cuda": 2.0, "NVIDIA L4": 0.5})
    assert table.hour("NVIDIA L4", "cuda:0") == 0.5
    assert table.hour("NVIDIA H100", "cuda:0") == 2.0


def test_nothing_has_a_price_by_default():
    assert PriceTable().hour("cpu") is None
    assert PriceTable({"cuda": 2.0}).hour("cpu") is None


@pytest.mark.parametrize("price", [-0.1, float("nan"), float("inf"), "0.10", True, None])
def test_a_price_is_a_number(price):
    with pytest.raises(SettingError, match="finite number from 0 on, under a device's name. Given: 'cpu'"):
        PriceTable.from_json({"cpu": price, "currency": "USD"})


@pytest.mark.parametrize("currency", ["dollars", "usd", "$", 3, None])
def test_a_currency_is_a_code(currency):
    with pytest.raises(SettingError, match="code of three capital letters"):
        PriceTable.from_json({"cpu": 1.0, "currency": currency})


def test_a_table_names_its_currency():
    with pytest.raises(SettingError, match='names its currency.*"currency": "USD"'):
        PriceTable.from_json({"cpu": 0.1})
    with pytest.raises(SettingError, match="object of devices and prices"):
        PriceTable.from_json([1])


def test_a_file_that_is_no_table_is_named(tmp_path):
    file = tmp_path / "prices.json"
    with pytest.raises(SettingError, match="read from a JSON file.*prices.json"):
        read_prices(file)
    file.write_text("{")
    with pytest.raises(SettingError, match="read from a JSON file.*prices.json"):
        read_prices(file)
    file.write_text('{"cpu": -1, "currency": "USD"}')
    with pytest.raises(SettingError, match="finite number.*prices.json"):
        read_prices(file)
