"""What simulated equipment has served, as JSON lines: the truth that tests hold the account against.

One line per answered request: {"t": monotonic s, "unix": s, "bus", "device", "unit", "fc", "address",
"count", "registers": hex}. One per measurement that a BLE sensor puts into its advertisements: {"t", "unix",
"bus": "air", "device", "address", "packet_id", "service_data": hex}. A line is written before the answer
leaves.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ServedLog", "read_served"]


class ServedLog:
    """A log of at most twice `limit` bytes: a full file becomes PATH.1, and a new one begins."""

    def __init__(self, path: Path, limit: int = 32 << 20) -> None:
        self.path = path
        self._limit = limit
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def close(self) -> None:
        self._file.close()

    def request(
        self, bus: str, device: str, unit: int, fc: int, address: int, registers: Sequence[int]
    ) -> None:
        """One answered request."""
        raw = b"".join(register.to_bytes(2, "big") for register in registers)
        self._write(
            bus=bus,
            device=device,
            unit=unit,
            fc=fc,
            address=address,
            count=len(registers),
            registers=raw.hex(),
        )

    def advert(self, device: str, address: str, packet_id: int, service_data: bytes) -> None:
        """One new content of a sensor's advertisements."""
        self._write(
            bus="air", device=device, address=address, packet_id=packet_id, service_data=service_data.hex()
        )

    def _write(self, **fields: Any) -> None:
        if self._file.tell() > self._limit:
            self._file.close()
            self.path.replace(_older(self.path))
            self._file = self.path.open("a", buffering=1, encoding="utf-8")
        entry = {"t": round(time.monotonic(), 6), "unix": round(time.time(), 6), **fields}
        self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")


def read_served(path: Path) -> Iterator[dict[str, Any]]:
    """Every entry that is still there, the oldest first."""
    for part in (_older(path), path):
        if part.exists():
            for line in part.read_text(encoding="utf-8").splitlines():
                yield json.loads(line)


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")
