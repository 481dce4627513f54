"""``doctor``: what is installed, what the machine is, and what can be measured on it."""

from __future__ import annotations

from typing import Any

from rheostat.cli import heavy
from rheostat.cli.command import Command, JsonOption
from rheostat.cli.output import Reply, plain, table
from rheostat.cli.versions import version_of

__all__ = ["COMMANDS"]

_LIBRARIES = (
    "torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate", "datasets", "pyarrow",
    "pandas", "scikit-learn", "plotly", "matplotlib", "gguf", "rich", "typer",
)  # fmt: skip


def _doctor(options: JsonOption) -> Reply:
    libraries = {name: version_of(name) for name in _LIBRARIES}
    data = {"rheostat": version_of("rheostat"), **plain(heavy.hardware()), "libraries": libraries}
    machine = [
        (name.removesuffix("_bytes").replace("_", " "), _words(name, value))
        for name, value in data["machine"].items()
        if value is not None and name != "device"
    ]
    shown = (
        table("Machine", ("fact", "value"), [*machine, *_devices(data["devices"])]),
        table("What can be measured here", ("what", "how"), _measurable(data)),
        table(
            "Libraries",
            ("library", "version"),
            [(name, known or "not installed") for name, known in libraries.items()],
        ),
    )
    return Reply(data, shown)


def _devices(devices: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [("device", f"{device['name']}: {_device_words(device)}") for device in devices]


def _device_words(device: dict[str, Any]) -> str:
    memory = device["memory_bytes"]
    return str(device["description"]) + (f", {memory / 2**30:.1f} GiB" if memory else "")


def _measurable(data: dict[str, Any]) -> list[tuple[str, str]]:
    tools, processor = data["instruments"], data["processor"]
    energy = tools["energy_source"] or ", ".join(tools["energy"]) or f"no: {tools['energy_reason']}"
    return [
        ("time", tools["time"]),
        ("work", "multiply-accumulates, counted"),
        ("energy", energy),
        ("accelerator memory", "yes" if tools["device_memory"] else "no: there is no CUDA device"),
        ("fp32 matrix products", f"{data['matrix_products_gflops']:.0f} GFLOP/s, measured just now"),
        ("vector instructions", str(processor["vector"])),
    ]


def _words(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return f"{value / 2**30:.1f} GiB"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "default"
    return str(value)


COMMANDS = (
    Command(
        name="doctor",
        run=_doctor,
        options=JsonOption,
        summary="Say what this machine is, which libraries are installed, and what can be measured here.",
        examples=("rheostat doctor",),
        panel="Look",
    ),
)
