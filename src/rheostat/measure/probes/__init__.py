"""The only place that asks the hardware."""

from rheostat.measure.probes.hardware import (
    Device,
    Instruments,
    Threads,
    devices,
    instruments,
    machine,
    matrix_product_rate,
    processor_abilities,
    synchroniser,
    threads,
)

__all__ = [
    "Device",
    "Instruments",
    "Threads",
    "devices",
    "instruments",
    "machine",
    "matrix_product_rate",
    "processor_abilities",
    "synchroniser",
    "threads",
]
