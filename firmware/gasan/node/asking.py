"""A question of commissioning: one read of any unit on a line, between its polls. Loaded when there is one.

The command is [line, unit, request, timeout_ms, setting]: function and data of the request; setting is empty,
or baud rate, parity (0 none, 1 even, 2 odd) and stop bits at which this one question is asked. Only reads are
asked, and nobody is asked all at once; whatever comes of it, the line has its own setting again after it.
Answer: 0 and the milliseconds it took with the answer in base64, or a code that says what came instead.
"""

import binascii
from time import ticks_diff, ticks_ms

from gasan.node.general import Asked
from gasan.node.poll import Device
from gasan.node.urgent import Busy, wake
from gasan.wire.quality import EXCEPTION, GOOD, TIMEOUT
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.app import Node
    from gasan.node.poll import Poller

_ANSWER = const(0)  # codes of the answer
_REFUSED = const(12)
_EXCEPTION = const(16)
_SILENCE = const(17)
_GARBAGE = const(18)

_READS = b"\x01\x02\x03\x04\x11\x2b"
_IDENTIFY = const(0x2B)
_TIMEOUT_MAX_MS = const(2000)
_DEADLINE_MS = const(5000)
_FAST = const(19200)


async def ask(node: "Node", args: list) -> "tuple[int, str]":
    """Do a command; never raises for what it or a device holds."""
    poller = None
    if len(args) == 5:
        for name, source in node.sources:
            if name == args[0] and hasattr(source, "urgent"):
                poller = source
    if poller is None:
        return _REFUSED, "no such line"
    _, unit, request, timeout_ms, setting = args
    if not isinstance(unit, int) or not 1 <= unit <= 255 or not isinstance(request, bytes):
        return _REFUSED, "not a question"
    if (
        not 1 <= len(request) <= 8
        or request[0] not in _READS
        or (request[0] == 0x2B and request[1:2] != b"\x0e")
    ):
        return _REFUSED, "only reads"
    if not isinstance(timeout_ms, int) or not 1 <= timeout_ms <= _TIMEOUT_MAX_MS or not _is_setting(setting):
        return _REFUSED, "a timeout or setting that the line cannot have"
    if request[0] <= 4 and (len(request) != 5 or not 1 <= request[3] << 8 | request[4] <= 125):
        return _REFUSED, "only reads"
    try:
        job = _Question(poller, bytes((unit,)) + request, _DEADLINE_MS)
    except Busy as e:
        return _REFUSED, str(e)
    if not job.device.tally[0] and job.device not in poller.devices:
        job.device = Device(timeout_ms, 0, 0)
    job.setting = setting if poller.lock else ()
    wake(node, poller)
    quality = await job.outcome(poller)
    if quality == GOOD:
        return _ANSWER, "%d %s" % (job.ms, binascii.b2a_base64(job.answer)[:-1].decode())
    if quality >= EXCEPTION:
        return _EXCEPTION, "%d %d" % (job.ms, quality - EXCEPTION)
    return (_SILENCE if quality == TIMEOUT else _GARBAGE), "%d" % quality


class _Question(Asked):
    """One transaction at a setting of its own. ms: how long it took."""

    setting: "Any" = ()
    ms = 0

    async def _run(self, poller: "Poller") -> None:
        line: "Any" = poller
        read: "Any" = poller._read
        if self.setting:
            char_us, gap_us = read.char_us, read.gap_us
            baudrate, parity, stop = self.setting
            read.char_us = -(-(9 + (parity > 0) + stop) * 1000000 // baudrate)
            read.gap_us = 1750 if baudrate > _FAST else read.char_us * 7 // 2
            _tune(line, baudrate, parity, stop)
        start = ticks_ms()
        try:
            await super()._run(poller)
        finally:
            self.ms = ticks_diff(ticks_ms(), start)
            if self.setting:
                own = line.params
                _tune(line, own[2], own.get(3, 0), own.get(4, 1))
                read.char_us, read.gap_us = char_us, gap_us


def _tune(line: "Any", baudrate: int, parity: int, stop: int) -> None:
    line._uart.init(baudrate, 8, (None, 0, 1)[parity], stop)


def _is_setting(setting: "Any") -> bool:
    if not isinstance(setting, list) or len(setting) not in (0, 3):
        return False
    if not all(isinstance(value, int) for value in setting):
        return False
    return not setting or (300 <= setting[0] <= 1000000 and 0 <= setting[1] <= 2 and 1 <= setting[2] <= 2)
