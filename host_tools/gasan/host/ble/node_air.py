"""What a node hears, asked through the running gateway: everybody in its air, not only its sensors."""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gasan.host.control_client import ask_once
from gasan.host.errors import InputError, TryAgainError
from gasan.host.i18n import _

__all__ = ["Record", "listen"]

_DONE: Final = 0
_LISTEN_MS: Final = 1500
_HEAD: Final = 11
_MORE: Final = 7  # records of an answer, and above, after which there may be more


@dataclass(frozen=True)
class Record:
    """The last advertisement or scan response of an address; how many came since the record before."""

    address: bytes
    random: bool
    response: bool
    rssi: int
    adverts: int
    data: bytes


def listen(state: Path, node: str, seconds: float) -> Iterator[tuple[list[Record], int]]:
    """News, and how many adverts found no place so far, until the time is over.

    Raises InputError when there is no such node and TryAgainError when it or the gateway does not answer.
    """
    end = time.monotonic() + seconds
    try:
        more = False
        while (left := end - time.monotonic()) > 0 or more:
            ms = 1 if more else max(1, min(_LISTEN_MS, round(1000 * left)))
            records, unnoted = _ask(state, node, ms)
            more = len(records) >= _MORE
            yield records, unnoted
    finally:
        _ask(state, node, 0)


def _ask(state: Path, node: str, ms: int) -> tuple[list[Record], int]:
    answer = ask_once(state, {"do": "command", "node": node, "name": "hear", "args": [ms]})
    status, text = answer["status"], str(answer["text"])
    if status != _DONE:
        raise TryAgainError(_("{node} does not listen: {text}").format(node=node, text=text))
    unnoted, _space, rest = text.partition(" ")
    return list(records(base64.b64decode(rest))), int(unnoted)


def records(packed: bytes) -> Iterator[Record]:
    """The records of an answer. Raises InputError when it is none."""
    at = 0
    while at < len(packed):
        size = packed[at + 10] if at + _HEAD <= len(packed) else len(packed)
        if at + _HEAD + size > len(packed):
            raise InputError(_("the node's answer is no list of what it heard"))
        rssi = int.from_bytes(packed[at + 7 : at + 8], signed=True)
        adverts = int.from_bytes(packed[at + 8 : at + 10])
        data = packed[at + _HEAD : at + _HEAD + size]
        kind = packed[at]
        yield Record(packed[at + 1 : at + 7], bool(kind & 1), bool(kind & 2), rssi, adverts, data)
        at += _HEAD + size
