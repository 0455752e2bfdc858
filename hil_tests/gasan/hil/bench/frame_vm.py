"""Runs on the MicroPython VM: makes frames from plans, as a node does, and measures that.

Standard input: one plan (JSON, see `frame_plan`) a line. Output: for each plan a line of JSON with the frame
in hex, the bytes allocated while filling and encoding, those allocated while sealing, and the microseconds
from the bytes that a device has sent to the sealed frame (the least of some rounds).
Arguments: repetitions in a round (0: it is not timed), rounds.
"""

import json
import sys
from binascii import hexlify, unhexlify
from time import ticks_diff, ticks_us  # type: ignore[attr-defined]

import micropython
from gasan.wire import columns, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Rows:
    """A group and what devices will answer, one buffer a row."""

    def __init__(self, plan: "dict[str, Any]") -> None:
        self.types = bytes([columns.TYPE.index(name) for name in plan["types"]])
        self.times = plan["times"]
        self.qualities = plan["qualities"]
        self.marked = [any(column[row] for column in self.qualities) for row in range(len(self.times))]
        self.offsets = []
        size = 0
        for code in self.types:
            self.offsets.append(size)
            size += columns.width(code)
        self.answers = []
        for row in range(len(self.times)):
            answer = bytearray(size)
            for col, samples in enumerate(plan["samples"]):
                if samples[row] is not None:
                    sample = unhexlify(samples[row])
                    answer[self.offsets[col] : self.offsets[col] + len(sample)] = sample
            self.answers.append(answer)
        self.group = columns.Group(plan["channels"], self.types, len(self.times), plan["period_ms"])

    def fill(self) -> None:
        # Few locals in each function: one that needs more than 11 words takes its frame from the heap.
        self.group.clear()
        for row in range(len(self.times)):
            self.group.start(self.times[row])
            if self.marked[row]:
                self.fill_marked(self.group, row, self.answers[row])
            else:
                self.fill_good(self.group, self.answers[row])
            self.group.finish()

    def fill_good(self, group: columns.Group, answer: bytearray) -> None:
        col = 0
        while col < group.columns:
            group.put(col, answer, self.offsets[col])
            col += 1

    def fill_marked(self, group: columns.Group, row: int, answer: bytearray) -> None:
        col = 0
        while col < group.columns:
            if self.qualities[col][row] < 64:
                group.put(col, answer, self.offsets[col])
            if self.qualities[col][row]:
                group.mark(col, self.qualities[col][row])
            col += 1


class Maker:
    """Makes the frame of a plan."""

    def __init__(self, plan: "dict[str, Any]") -> None:
        self.kind, self.seq, self.count, self.mono = plan["kind"], plan["seq"], plan["count"], plan["mono"]
        self.boot = unhexlify(plan["boot"])
        self.rev = unhexlify(plan["rev"])
        self.content = unhexlify(plan["content"]) if "content" in plan else None
        self.groups = [Rows(group) for group in plan.get("groups", ())]
        key = frame.frame_key(unhexlify(plan["key"]))
        self.writer = frame.FrameWriter(unhexlify(plan["node_id"]), plan["generation"], key)

    def encode(self) -> None:
        self.writer.begin(self.kind, self.boot, self.seq, self.count, self.mono, self.rev)
        if self.content is not None:
            self.writer.raw(self.content)
        for i in range(len(self.groups)):
            self.groups[i].fill()
            if not self.writer.add(self.groups[i].group):
                raise ValueError("a group does not fit")

    def seal(self) -> memoryview:
        return self.writer.seal()

    def encode_and_seal(self) -> None:
        self.encode()
        self.writer.seal()


def allocated(step: "Callable[[], object]") -> int:
    """Heap bytes that a call takes, those that it frees again included."""
    before = micropython.mem_total()
    between = micropython.mem_total()
    step()
    after = micropython.mem_total()
    used: int = after - between - (between - before)
    return used


def timed(step: "Callable[[], object]", repetitions: int, rounds: int) -> float:
    """Microseconds of a call: the mean of a round, and of the rounds the least."""
    least = 0.0
    for _ in range(rounds):
        start = ticks_us()
        for _ in range(repetitions):
            step()
        spent = ticks_diff(ticks_us(), start) / repetitions
        least = spent if not least else min(least, spent)
    return least


def main() -> None:
    repetitions, rounds = int(sys.argv[1]), int(sys.argv[2])
    for line in sys.stdin:
        maker = Maker(json.loads(line))
        if maker.content is None and max(maker.seq, maker.count, maker.mono) < 1 << 30:
            micropython.heap_lock()
            try:
                maker.encode()
            finally:
                micropython.heap_unlock()
        encoding = allocated(maker.encode)
        sealing = allocated(maker.seal)
        out = {"frame": hexlify(maker.seal()).decode(), "encoding": encoding, "sealing": sealing}
        if repetitions:
            out["us"] = timed(maker.encode_and_seal, repetitions, rounds)
        print(json.dumps(out))


main()
