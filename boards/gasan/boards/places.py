"""Where the parts of the project that are not Python packages lie."""

import os
from pathlib import Path

__all__ = ["BOARDS", "CACHE", "FIRMWARE", "ROOT", "STANDINS"]

ROOT = Path(__file__).resolve().parents[3]
"""The project's folder."""

BOARDS = ROOT / "boards"
"""One TOML file per board."""

STANDINS = BOARDS / "standins"
"""Stand-ins for a board's hardware modules, run by the MicroPython VM."""

FIRMWARE = ROOT / "firmware"
"""What a node runs; ``manifest.py`` says what goes on a board."""

CACHE = Path(os.environ.get("GASAN_CACHE") or ROOT / ".cache")
"""What can be made again: virtual machines, compiled stand-ins. Untracked; ``$GASAN_CACHE`` moves it."""
