"""Runs on the MicroPython VM: batched readings by micropython-lib's `senml` and `cbor2`, and what they take.

Arguments: the folder of the two libraries, repetitions in a round. Standard input: JSON, a list of
[channel, [[time in seconds, value], ...]]. Output: bytes of the encoded pack, microseconds to make it (the
least of five rounds), bytes allocated.
"""

import json
import sys
from time import ticks_diff, ticks_us  # type: ignore[attr-defined]

import micropython

sys.path.insert(0, sys.argv[1])
from senml import SenmlPack, SenmlRecord  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def encode(columns: "Any") -> "Any":
    pack = SenmlPack("press-1:")
    pack.base_time = columns[0][1][0][0]
    for channel, samples in columns:
        for t, value in samples:
            pack.add(SenmlRecord(channel, value=value, time=t))
    return pack.to_cbor()


def main() -> None:
    columns = json.loads(sys.stdin.read())
    repetitions = int(sys.argv[2])
    before = micropython.mem_total()
    size = len(encode(columns))
    allocated = micropython.mem_total() - before
    least = 0.0
    for _ in range(5):
        start = ticks_us()
        for _ in range(repetitions):
            encode(columns)
        spent = ticks_diff(ticks_us(), start) / repetitions
        least = spent if not least else min(least, spent)
    print(size, least, allocated)


main()
