"""Readings as they are stored, in the columns of the view `readings`, without asking the database."""

from collections.abc import Callable, Iterator
from typing import Any

from gasan.host.store.ingest import Outcome, Receipt
from gasan.host.store.samples import stored_raw
from gasan.wire import quality

__all__ = ["tail_rows"]


def tail_rows(
    node: str, receipt: Receipt, offset_ms: Callable[[bytes, int], int | None], utc_offset_ms: int
) -> Iterator[dict[str, Any]]:
    """The readings of a stored frame; `offset_ms(boot, node ms)` leads to gateway time, `utc_offset_ms` to
    UTC.

    A raw value of bytes is shown in hex, since the rows become JSON.
    """
    frame = receipt.frame
    if receipt.outcome is not Outcome.STORED or frame is None:
        return
    offset = offset_ms(frame.boot, frame.mono)
    for (_, times, columns, qualities), layout in zip(receipt.groups, receipt.layouts, strict=True):
        for channel, values, marks in zip(layout.channels, columns, qualities, strict=True):
            meaning = channel.meaning
            for time_ms, raw, mark in zip(times, values, marks, strict=True):
                bad = mark >= quality.BAD_NO_VALUE
                shown = stored_raw(raw)
                yield {
                    "node": node,
                    "device": meaning.device,
                    "channel": meaning.name,
                    "time_ms": None if offset is None else time_ms + offset + utc_offset_ms,
                    "value": None if bad else meaning.value(raw),
                    "raw": shown.hex() if isinstance(shown, bytes) else shown,
                    "text": None if bad else meaning.text(raw),
                    "unit": meaning.unit,
                    "quality": quality.name(mark),
                    "boot": frame.boot.hex(),
                    "seq": frame.seq,
                }
