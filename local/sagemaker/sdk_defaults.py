"""Defaults of the SageMaker SDKs without telemetry to Amazon, about which each call would log an error here."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "SAGEMAKER_USER_CONFIG_OVERRIDE"
"""Names the SDKs' file of a user's defaults."""

_TEXT = """\
# Written by oba up. The SDKs tell Amazon of each call, which oba up refuses; without this they log that as an error.
SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
"""
_PLACES = (".config/sagemaker", "Library/Application Support/sagemaker")
"""Of the user's own defaults, below the home folder, by platformdirs' rules for Linux and macOS."""


def written(state: Path) -> Path | None:
    """The file of defaults in the state folder; None where the user has defaults, which must not be replaced."""
    own = [Path.home() / place for place in _PLACES]
    if folder := os.environ.get("XDG_CONFIG_HOME"):
        own.append(Path(folder) / "sagemaker")
    if os.environ.get(VARIABLE) or any((place / "config.yaml").exists() for place in own):
        return None
    file = state.resolve() / "sagemaker-defaults.yaml"
    file.write_text(_TEXT)
    return file
