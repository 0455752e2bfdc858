"""Other people's software as judges of frames: zcbor validates, pycose verifies, cbor2 decodes.

`readings_by_cbor2` is a second decoder of the frame, written from protocols/frame.md with no line of
`gasan.wire`, slow and plain, for tests to compare with.
"""

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

import cbor2
import zcbor
from gasan.boards.places import ROOT
from pycose.keys.symmetric import SymmetricKey
from pycose.messages.cosemessage import CoseMessage
from pycose.messages.mac0message import Mac0Message

__all__ = ["FRAME_CDDL", "open_with_pycose", "readings_by_cbor2", "validate"]

FRAME_CDDL = ROOT / "protocols" / "frame.cddl"

#: (channel, ms since the boot, int or the raw bytes of a float or None, quality)
Reading = tuple[int, int, int | bytes | None, int]


def _prelude() -> str:
    """The standard names of CDDL, as zcbor's command line adds them."""
    return (resources.files("zcbor") / "zcbor" / "prelude.cddl").read_text(encoding="utf-8") + "\n"


@cache
def _schema() -> Any:
    text = _prelude() + FRAME_CDDL.read_text(encoding="utf-8")
    return zcbor.DataTranslator.from_cddl(text, 1 << 20).my_types["frame"]


def validate(frame: bytes) -> None:
    """Raise zcbor.CddlValidationError unless the frame conforms to protocols/frame.cddl."""
    _schema().validate_str(frame)


def open_with_pycose(frame: bytes, frame_key: bytes) -> tuple[bytes, bytes]:
    """(kid, payload) of a frame whose MAC pycose finds to be right; AssertionError otherwise."""
    message = CoseMessage.decode(frame)
    assert isinstance(message, Mac0Message) and message.payload is not None
    message.key = SymmetricKey(k=frame_key)
    assert message.verify_tag()
    headers = {header.identifier: value for header, value in message.uhdr.items()}
    return headers[4], message.payload


def readings_by_cbor2(payload: bytes) -> Iterator[Reading]:
    """The readings of a data frame, in the order in which they are numbered."""
    _kind, _boot, _seq, _count, mono, _rev, groups = cbor2.loads(payload)
    for channels, n, start, step, columns, *rest in groups:
        if isinstance(channels, int):
            channels = range(channels, channels + len(columns))
        times = [mono + start]
        for i in range(n - 1):
            times.append(times[-1] + (step if isinstance(step, int) else step[0] + step[i + 1]))
        qualities = [[0] * n for _ in columns]
        runs = rest[0] if rest else []
        for column, width, sample, height, quality in zip(*[iter(runs)] * 5, strict=True):
            for c in range(column, column + width):
                qualities[c][sample : sample + height] = [quality] * height
        for c, channel in enumerate(channels):
            values = _values(columns[c], n, qualities[c])
            yield from zip([channel] * n, times, values, qualities[c], strict=True)


def _values(column: Any, n: int, qualities: list[int]) -> list[int | bytes | None]:
    if column is None or isinstance(column, int):
        return [column] * n
    if isinstance(column, list) and not isinstance(column[0], bytes):
        values: list[int | bytes | None] = []
        last = 0
        for delta in column:
            last += delta or 0
            values.append(None if delta is None else last)
        return values
    prefix, rest = column
    present = sum(quality < 64 for quality in qualities)
    size = len(rest) // present
    parts = iter([prefix + rest[i * size : (i + 1) * size] for i in range(present)])
    return [next(parts) if quality < 64 else None for quality in qualities]
