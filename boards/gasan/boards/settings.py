"""How one virtual board is set up: ``board.json`` in its folder."""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gasan.boards import facts
from gasan.boards.facts import Board
from gasan.boards.vm import Vm, find_vm, probe

__all__ = ["FLASH", "Settings"]

FLASH = "flash.img"
"""The image of the board's file system, in its folder."""


@dataclass(frozen=True)
class Settings:
    """``board``: a file in boards/. ``vm``: command line of the VM, or empty to look for one of ``bits``
    bits.

    ``uarts``: what each UART is connected to, {id: terminal}. ``heap``: bytes on a 32-bit VM, by default
    the board's. ``air``: host:port of the simulated radio. ``wifi``: (name, password) of the access point.
    ``env``: environment of the VM. ``uid``: the board's unique id, hexadecimal.
    """

    board: str = "virtual"
    vm: tuple[str, ...] = ()
    bits: int | None = None
    uarts: dict[int, str] = field(default_factory=dict)
    heap: int | None = None
    air: str | None = None
    wifi: tuple[str, str] | None = None
    env: dict[str, str] = field(default_factory=dict)
    uid: str = ""

    @property
    def facts(self) -> Board:
        return facts.load(self.board)

    def find_vm(self) -> Vm:
        """Raises VmMissing."""
        return probe(self.vm, "board.json") if self.vm else find_vm(self.bits)

    def save(self, folder: Path) -> "Settings":
        """Write board.json; a board without a unique id is given one."""
        folder.mkdir(parents=True, exist_ok=True)
        settings = self if self.uid else replace(self, uid=os.urandom(8).hex())
        new = folder / ".board.json.new"
        new.write_text(json.dumps(asdict(settings), indent=1))
        new.replace(folder / "board.json")
        return settings

    @classmethod
    def load(cls, folder: Path) -> "Settings":
        """Raises FileNotFoundError, ValueError."""
        data: dict[str, Any] = json.loads((folder / "board.json").read_text())
        data["vm"] = tuple(data.get("vm") or ())
        data["uarts"] = {int(number): path for number, path in data.get("uarts", {}).items()}
        data["wifi"] = tuple(data["wifi"]) if data.get("wifi") else None
        try:
            return cls(**data)
        except TypeError as e:
            raise ValueError(f"{folder / 'board.json'}: {e}") from None
