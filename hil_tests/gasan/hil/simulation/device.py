"""The shipped device code on CPython: each node has modules of its own, made of the files that go on a board,
over thin stand-ins for what MicroPython brings, and a flash that power cuts can hit.
"""

import asyncio
import builtins
import errno
import importlib.util
import io
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any, Final

from gasan.hil.simulation.mutants import Mutant

__all__ = ["BLOCK", "Firmware", "Flash", "PowerCut", "Reset"]

BLOCK: Final = 4096
_TICKS: Final = 1 << 30


class PowerCut(BaseException):
    """The power is gone: nothing of this start runs on."""


class Reset(BaseException):
    """`machine.reset()`, which does not return."""


class Flash:
    """Files as littlefs keeps them: what was synced or closed is there after a cut, whole; what was only
    written is
    not. Renaming and removing are atomic.

    `blocks` is the room; `on_cut` is called when a cut that was ordered happens. `cut_in(n)` cuts the power
    in the n-th operation from now that changes flash, before it
    takes effect or behind it.
    """

    def __init__(self, blocks: int, on_cut: Callable[[], Any]) -> None:
        self.files: dict[str, bytes] = {}
        self.blocks = blocks
        self.life = 0
        """Files opened before the last cut belong to an earlier one, and can do nothing any more."""
        self.operations = 0
        self._on_cut = on_cut
        self._cut_at = -1
        self._cut_behind = False

    def cut_in(self, operations: int, *, behind: bool) -> None:
        self._cut_at = self.operations + operations
        self._cut_behind = behind

    def cut(self) -> None:
        """The power goes."""
        self.life += 1
        self.spare()

    def spare(self) -> None:
        """Take back what `cut_in` ordered."""
        self._cut_at = -1

    def change(self, make: Callable[[], Any]) -> None:
        self.operations += 1
        if self.operations == self._cut_at:
            if self._cut_behind:
                make()
            self.cut()
            self._on_cut()
            raise PowerCut
        make()

    def free(self, but: str = "") -> int:
        """Blocks that no file takes, save the one called `but`; each takes one at least."""
        return self.blocks - sum(
            max(1, -(-len(data) // BLOCK)) for name, data in self.files.items() if name != but
        )

    def room_for(self, path: str, size: int) -> None:
        if max(1, -(-size // BLOCK)) > self.free(path):
            raise OSError(errno.ENOSPC, "no space left")

    def open(self, path: str, mode: str = "r") -> "_File":
        if path not in self.files:
            if "w" not in mode:
                raise OSError(errno.ENOENT, path)
            self.room_for(path, 0)
            self.change(lambda: self.files.__setitem__(path, b""))
        return _File(self, path, "w" in mode)

    def listdir(self, folder: str) -> list[str]:
        head = folder.rstrip("/") + "/"
        return [path[len(head) :] for path in self.files if path.startswith(head)]

    def remove(self, path: str) -> None:
        if path not in self.files:
            raise OSError(errno.ENOENT, path)
        self.change(lambda: self.files.pop(path))

    def rename(self, old: str, new: str) -> None:
        if old not in self.files:
            raise OSError(errno.ENOENT, old)
        self.change(lambda: self.files.__setitem__(new, self.files.pop(old)))

    def stat(self, path: str) -> tuple[int, ...]:
        if path not in self.files:
            raise OSError(errno.ENOENT, path)
        return (0x8000, 0, 0, 0, 0, 0, len(self.files[path]), 0, 0, 0)


class _File:
    def __init__(self, flash: Flash, path: str, is_new: bool) -> None:
        self._flash = flash
        self._life = flash.life
        self._path = path
        self._data = bytearray() if is_new else bytearray(flash.files[path])
        self._at = 0
        self._dirty = is_new and bool(flash.files[path])
        self._failed = False

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def seek(self, at: int) -> int:
        self._at = at
        return at

    def write(self, data: "bytes | bytearray | memoryview") -> int:
        self._check()
        self._data[self._at : self._at + len(data)] = data
        self._at += len(data)
        self._dirty = True
        return len(data)

    def read(self, size: int = -1) -> bytes:
        self._check()
        end = len(self._data) if size < 0 else min(self._at + size, len(self._data))
        data = bytes(self._data[self._at : end])
        self._at += len(data)
        return data

    def readinto(self, buf: "bytearray | memoryview") -> int:
        data = self.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    def flush(self) -> None:
        self._check()
        if not self._dirty:
            return
        try:
            self._flash.room_for(self._path, len(self._data))
        except OSError:
            self._failed = True
            raise
        self._flash.change(lambda: self._flash.files.__setitem__(self._path, bytes(self._data)))
        self._dirty = False

    def close(self) -> None:
        if not self._failed and self._life == self._flash.life:
            self.flush()

    def _check(self) -> None:
        if self._life != self._flash.life:
            raise PowerCut


class Firmware:
    """One node's own copies of the modules of `gasan.node` and `gasan.ota`, loaded as they import each other.

    ticks: the tick counter. sleep_ms: of asyncio, called with the importing module's name. flash: where
    their files
    are. loaded: called with each module when it has been loaded: for seams, and constants that are stretched.
    """

    def __init__(
        self,
        *,
        ticks: Callable[[], int],
        sleep_ms: Callable[[str, int], Any],
        flash: Flash,
        rng: random.Random,
        cause: Callable[[], int],
        loaded: Callable[[ModuleType], None],
        mutant: Mutant | None = None,
    ) -> None:
        self._modules: dict[str, ModuleType] = {}
        self._loaded = loaded
        self._mutant = mutant
        self._sleep_ms = sleep_ms
        self._builtins = {
            **vars(builtins),
            "__import__": self._import,
            "open": flash.open,
            "print": lambda *_args, **_named: None,
        }
        nothing = lambda *_args: None  # noqa: E731
        self._standins: dict[str, Any] = {
            "time": SimpleNamespace(
                ticks_ms=lambda: ticks() % _TICKS,
                ticks_add=lambda a, b: (a + b) % _TICKS,
                ticks_diff=lambda a, b: (a - b + _TICKS // 2) % _TICKS - _TICKS // 2,
                sleep_ms=nothing,
                sleep=nothing,
                time=lambda: rng.randrange(1 << 31),  # no node may believe it
            ),
            "os": SimpleNamespace(
                urandom=rng.randbytes,
                listdir=flash.listdir,
                remove=flash.remove,
                rename=flash.rename,
                stat=flash.stat,
                statvfs=lambda _path: (BLOCK, BLOCK, flash.blocks, flash.free()),
                mkdir=nothing,
                sync=nothing,
            ),
            "gc": SimpleNamespace(collect=nothing, mem_free=lambda: 100_000, threshold=nothing),
            "machine": SimpleNamespace(
                WDT=lambda **_named: SimpleNamespace(feed=nothing),
                reset=self._reset,
                reset_cause=cause,
                PWRON_RESET=1,
                HARD_RESET=2,
                WDT_RESET=3,
                DEEPSLEEP_RESET=4,
                SOFT_RESET=5,
            ),
            "micropython": SimpleNamespace(const=lambda value: value, kbd_intr=nothing),
            "select": SimpleNamespace(),
            "sys": SimpleNamespace(
                modules={},  # what a node drops to save memory stays here
                implementation=SimpleNamespace(_machine="simulated"),
                print_exception=_print_exception,
            ),
        }

    def module(self, name: str) -> Any:
        """The node's own module of that name."""
        if name in self._modules:
            return self._modules[name]
        module = self._modules[name] = ModuleType(name)
        module.__dict__["__builtins__"] = self._builtins
        mutant = self._mutant if self._mutant is not None and self._mutant.module == name else None
        exec(_code(name, mutant), module.__dict__)
        self._loaded(module)
        return module

    def put(self, name: str, **names: Any) -> None:
        """Have a module of our own instead of the shipped one."""
        module = self._modules[name] = ModuleType(name)
        module.__dict__.update(names)

    def _import(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> Any:
        if name in self._standins:
            return self._standins[name]
        if name == "asyncio":
            importer = globals["__name__"]
            return SimpleNamespace(
                sleep_ms=lambda ms: self._sleep_ms(importer, ms),
                create_task=asyncio.create_task,
                Lock=asyncio.Lock,
                Event=asyncio.Event,
                new_event_loop=lambda: None,
            )
        if name in ("gasan.node", "gasan.ota"):
            return SimpleNamespace(**{part: self.module(f"{name}.{part}") for part in fromlist})
        if name.startswith(("gasan.node.", "gasan.ota.")):
            return self.module(name)
        return __import__(name, globals, locals, fromlist, level)

    @staticmethod
    def _reset() -> None:
        raise Reset


@cache
def _code(name: str, mutant: Mutant | None) -> CodeType:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text()
    return compile(mutant.patched(source) if mutant is not None else source, spec.origin, "exec")


def _print_exception(error: BaseException, out: io.StringIO) -> None:
    out.write(f"{type(error).__name__}: {error}")
