"""Deliberate mistakes in the shipped code, node's and gateway's, for the test of the simulation: it must
fail for each.

A mutant replaces a text that stands exactly once in a module of the node, or in one function of the
gateway. A patch
that no longer fits raises, so that no mutant is quietly lost when the code changes.
"""

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["MUTANTS", "Mutant", "PatchError"]


class PatchError(Exception):
    """The text that a mutant replaces does not stand there exactly once."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake. module: of the node's, replaced as it is loaded, or of the gateway's, of which `function` is
    ("Class.method"). seed: of a run that is known to find it, or comes shortly before one.
    """

    name: str
    module: str
    old: str
    new: str
    function: str = ""
    seed: int = 1000

    def patched(self, source: str) -> str:
        if source.count(self.old) != 1:
            raise PatchError(f"{self.name}: {self.module} does not hold its text once")
        return source.replace(self.old, self.new)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Meanwhile the gateway has the mistake; a node takes its own from `patched`."""
        if not self.function:
            yield
            return
        module = importlib.import_module(self.module)
        owner: Any = module
        *path, name = self.function.split(".")
        for part in path:
            owner = getattr(owner, part)
        kept = getattr(owner, name)
        names: dict[str, Any] = {}
        exec(self.patched(textwrap.dedent(inspect.getsource(kept))), vars(module), names)
        setattr(owner, name, names[name])
        try:
            yield
        finally:
            setattr(owner, name, kept)


MUTANTS: Final = (
    Mutant(
        "acknowledged before the commit",
        "gasan.host.gateway.node_link",
        "self._writer.frame(data, self._written)",
        "self._writer.frame(data, self._written); from gasan.wire.frame import peek;"
        " self._session.ack(peek(data)[1], peek(data)[2] + 1)",
        "NodeLink._event",
    ),
    Mutant(
        "acknowledged though the disk is full",
        "gasan.host.store.writer",
        "wait(self._retry_s):\n                return False",
        "wait(self._retry_s):\n                return True",
        "StoreWriter._persist",
    ),
    Mutant(
        "what is missing between stored frames is acknowledged with them",
        "gasan.host.store.ranges",
        "start = 1 if",
        "return self.last + 1, ()\n    start = 1 if",
        "RangeSet.acknowledgement",
    ),
    Mutant(
        "a frame that comes again is taken for another one",
        "gasan.host.store.ingest",
        "row[0] == tag",
        "row[0] != tag",
        "Ingest._known",
    ),
    Mutant(
        "the clock of one start dates the frames of another",
        "gasan.host.store.dating",
        "return None",
        "return db.execute('SELECT max(id) FROM node_clock').fetchone()[0]",
        "clock_for",
    ),
    Mutant(
        "one row for all starts of the gateway's machine",
        "gasan.host.gateway.service",
        "machine_boot()",
        "'always'",
        "Gateway._set_clock",
    ),
    Mutant(
        "the gateway does not look at its clock again",
        "gasan.host.gateway.service",
        "while True:",
        "while False:",
        "Gateway._watch_clock",
    ),
    Mutant("a frame is not synced", "gasan.node.spool", "            self._tail.flush()\n", ""),
    Mutant(
        "an acknowledgement of one start is taken for all of them",
        "gasan.node.spool",
        "            if segment[BOOT] == boot:\n",
        "            if True:\n",
    ),
    Mutant(
        "what is dropped is told to nobody",
        "gasan.node.losses",
        "    for item in items:\n        write(frame.TOMBSTONE, None, content(item))\n",
        "",
    ),
    Mutant(
        "more is promised than the flash has",
        "gasan.node.recover",
        "    spool.budget = min(",
        "    _ = (",
        seed=1005,
    ),
    Mutant(
        "a reading has the time at which its batch was written",
        "gasan.node.batcher",
        "self._clock.at(base)",
        "self._clock.now()",
    ),
    Mutant(
        "the last frame of the start before is not counted",
        "gasan.node.recover",
        "+ losses.of(data, 0)[-1][4])",
        ")",
    ),
)
