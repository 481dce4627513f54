"""Bundles: a folder with everything that a model with a dial needs."""

from __future__ import annotations

from rheostat.bundle.decoding import Decoded
from rheostat.bundle.exits import EXITS, SavedExits, read_exits, weights_of, write_exits
from rheostat.bundle.loading import load
from rheostat.bundle.runtime import Bundle, Prediction
from rheostat.bundle.store import ADAPTER, MANIFEST, BundleInfo, check_target, read_manifest, save_bundle

__all__ = [
    "ADAPTER",
    "EXITS",
    "MANIFEST",
    "Bundle",
    "BundleInfo",
    "Decoded",
    "Prediction",
    "SavedExits",
    "check_target",
    "load",
    "read_exits",
    "read_manifest",
    "save_bundle",
    "weights_of",
    "write_exits",
]
