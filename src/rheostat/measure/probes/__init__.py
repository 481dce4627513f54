"""The only place that asks the hardware."""

from rheostat.measure.probes.conditions import BUSY, Conditions, ConditionsWatch
from rheostat.measure.probes.energy import energy_meter, idle_power, nvml_meter, rapl_meter
from rheostat.measure.probes.energy_libraries import codecarbon_meter, zeus_meter
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
from rheostat.measure.probes.meter import CounterMeter, EnergyMeter
from rheostat.measure.probes.peak import Peak, machine_peak
from rheostat.measure.probes.probe import (
    DeviceMemory,
    PeakResidentMemory,
    Probe,
    ProcessorTime,
    ResidentMemory,
    Unavailable,
)
from rheostat.measure.probes.sampler import Sampler

__all__ = [
    "BUSY",
    "Conditions",
    "ConditionsWatch",
    "CounterMeter",
    "Device",
    "DeviceMemory",
    "EnergyMeter",
    "Instruments",
    "Peak",
    "PeakResidentMemory",
    "Probe",
    "ProcessorTime",
    "ResidentMemory",
    "Sampler",
    "Threads",
    "Unavailable",
    "codecarbon_meter",
    "devices",
    "energy_meter",
    "idle_power",
    "instruments",
    "machine",
    "machine_peak",
    "matrix_product_rate",
    "nvml_meter",
    "processor_abilities",
    "rapl_meter",
    "synchroniser",
    "threads",
    "zeus_meter",
]
