"""Bundles: a folder with everything that a model with a dial needs."""

from __future__ import annotations

from rheostat.bundle.runtime import Bundle, Prediction, load
from rheostat.bundle.store import ADAPTER, MANIFEST, BundleInfo, check_target, read_manifest, save_bundle

__all__ = [
    "ADAPTER",
    "MANIFEST",
    "Bundle",
    "BundleInfo",
    "Prediction",
    "check_target",
    "load",
    "read_manifest",
    "save_bundle",
]
