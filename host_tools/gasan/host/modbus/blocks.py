"""Read a range of registers of a device about which nothing is known: in blocks, around what it refuses.

A refused block is halved until single registers are left. "Illegal value" on a block that is longer than any
accepted so far means that it is too long, so shorter ones are used from there on; unless the device says the
same of a single register.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gasan.host.errors import TryAgainError
from gasan.host.i18n import _
from gasan.host.modbus.frames import Kind, Reply, absent_behind_gateway
from gasan.host.modbus.ports import Asker

__all__ = ["FUNCTIONS", "Reading", "read_again", "read_range", "request_limit"]

FUNCTIONS = {"holding": 3, "input": 4}
_LONGEST = 125
_TRIES = 3
_TRIES_LATER = 2  # once it is known to answer
_PATIENCE = 5  # times its slowest answer so far, and at least so long:
_PATIENCE_LEAST_S = 0.1
_BUSY_PAUSE_S = 0.5
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE, _BUSY = 1, 2, 3, 6


@dataclass
class Reading:
    """What a table of a device holds, as far as it was read. refused: addresses that it does not have.

    blocks: (first address, count) of the requests that were answered. no_table: it knows no such function.
    longest: registers of the longest block that was answered. limit: what one may ask for at most, as far
    as it said so.
    """

    table: str
    registers: dict[int, int] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)
    blocks: list[tuple[int, int]] = field(default_factory=list)
    no_table: bool = False
    longest: int = 0
    limit: int = _LONGEST
    slowest_s: float = 0.0
    requests: int = 0


def read_range(
    line: Asker,
    unit: int,
    reading: Reading,
    first: int,
    last: int,
    *,
    timeout_s: float,
    watch: Callable[[int], None] = lambda _done: None,
) -> None:
    """Read registers `first` to `last` into `reading`; interrupt it by any exception.

    watch: called with the number of registers that are done. Raises TryAgainError when nobody answers.
    """
    _check_alive(line, unit, reading, first, timeout_s)
    most = reading.limit
    of_address = False  # "illegal value" is what it says of registers that are not there
    todo = [(first, last - first + 1)]
    while todo:
        start, count = todo.pop()
        if count > most:
            todo += [(start + most, count - most), (start, most)]
            continue
        watch(start - first)
        reply = _read(line, unit, reading, start, count, timeout_s)
        # Of a unit that is there, a gateway's "no answer" is but silence.
        refused = reply.kind is Kind.EXCEPTION and not absent_behind_gateway(reply)
        code = reply.code if refused else 0
        if reply.kind is Kind.ANSWER:
            _keep(reading, start, count, reply.pdu)
        elif code == _ILLEGAL_FUNCTION and not reading.blocks:
            reading.no_table = True
            return
        elif code == _BUSY:
            reading.silent.update(range(start, start + count))
        elif code == _ILLEGAL_VALUE and count > max(1, reading.longest) and not of_address:
            most = reading.limit = max(1, count // 2)
            todo.append((start, count))
        elif count > 1:
            # Halves that begin at even distances, so that a value of two registers is not cut.
            half = count // 2 if count < 4 else count // 4 * 2
            todo += [(start + half, count - half), (start, half)]
        elif code:
            reading.refused.add(start)
            if code == _ILLEGAL_VALUE and not of_address:
                of_address, most = True, _LONGEST
        else:
            reading.silent.add(start)
    if of_address:
        reading.limit = max(1, reading.longest)
    watch(last - first + 1)


def _check_alive(line: Asker, unit: int, reading: Reading, first: int, timeout_s: float) -> None:
    """Raises TryAgainError when neither the first register of any table nor what a scan asks for is there.

    After that silence means that a block is not there: some devices say nothing instead of refusing.
    """
    usual = [(reading.table, first), ("holding", 0)]
    absent = False
    for probe in dict.fromkeys([*usual, *((table, first) for table in FUNCTIONS)]):
        table, address = probe
        reply = _read(line, unit, Reading(table), address, 1, timeout_s)
        if absent_behind_gateway(reply):
            absent = True
        elif reply.kind is Kind.ANSWER or (reply.there and probe in usual):
            return
    if absent:
        raise TryAgainError(_("the gateway has no unit {unit}").format(unit=unit))
    raise TryAgainError(
        _("unit {unit} does not answer; look for it with: gasan modbus scan").format(unit=unit)
    )


def request_limit(readings: Iterable[Reading]) -> int:
    """Registers that one request may ask for, of all tables in which something was read."""
    return min((reading.limit for reading in readings if reading.blocks), default=1)


def read_again(line: Asker, unit: int, reading: Reading, timeout_s: float) -> dict[int, int]:
    """The registers of the blocks that were answered before, as they are now."""
    now = Reading(reading.table)
    for start, count in sorted(reading.blocks):
        reply = _read(line, unit, now, start, count, timeout_s)
        if reply.kind is Kind.ANSWER:
            _keep(now, start, count, reply.pdu)
    return now.registers


def _read(line: Asker, unit: int, reading: Reading, start: int, count: int, timeout_s: float) -> Reply:
    """One block; asked again after silence, damage or "busy"."""
    pdu = bytes([FUNCTIONS[reading.table]]) + start.to_bytes(2, "big") + count.to_bytes(2, "big")
    reply = Reply(Kind.SILENCE)
    known = len(reading.blocks) >= _TRIES
    if known:
        timeout_s = min(timeout_s, max(_PATIENCE_LEAST_S, _PATIENCE * reading.slowest_s))
    for _try in range(_TRIES_LATER if known else _TRIES):
        reply = line.ask(unit, pdu, timeout_s)
        reading.requests += 1
        if reply.there:
            reading.slowest_s = max(reading.slowest_s, reply.seconds)
        busy = reply.kind is Kind.EXCEPTION and reply.code == _BUSY
        if reply.there and not busy and not absent_behind_gateway(reply):
            break
        if busy:
            time.sleep(_BUSY_PAUSE_S)
    return reply


def _keep(reading: Reading, start: int, count: int, pdu: bytes) -> None:
    reading.blocks.append((start, count))
    reading.longest = max(reading.longest, count)
    for index in range(count):
        reading.registers[start + index] = int.from_bytes(pdu[2 + 2 * index : 4 + 2 * index], "big")
