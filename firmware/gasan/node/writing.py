"""A write to a machine, as the site file allows it. Loaded when there is one.

A device of the config carries under key 30 what may be written: [channel, function, address, words, order,
kind, least, most, step, pause_ms, flags, ? [shift, mask]]. kind: 0 unsigned, 1 signed, 2 float; least, most:
what a register may hold, of a float its bytes; step: from least on, 0 for none; flags: 1 it can be read, 2
the write goes to all units of the line at once.

The command is [channel, value, until]: the value as bytes, the most significant first; the node's time after
which it is too late, 0 for none. Answer: a code, and "old new quality" with what was read before and after in
hex, or why not. Nothing is ever written twice: a write that is not answered may have been done or not.
"""

import struct
from asyncio import sleep_ms

from gasan.node.general import Asked
from gasan.node.urgent import Busy, wake
from gasan.wire import modbus_write
from gasan.wire.modbus import reorder
from gasan.wire.modbus_read import read_request
from gasan.wire.quality import EXCEPTION, GOOD
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.app import Node

_READ_BACK = const(0)  # codes of the answer
_WRITTEN = const(10)  # as the device says; not read back
_DIFFERS = const(11)
_REFUSED = const(12)
_EXCEPTION = const(13)
_UNKNOWN = const(14)
_NOT_SENT = const(15)

_SIGNED = const(1)
_FLOAT = const(2)
_READABLE = const(1)
_TO_ALL = const(2)
_DEADLINE_MS = const(5000)
_SETTLE_MS = const(300)  # some devices show the new value a moment later


async def write(node: "Node", args: list) -> "tuple[int, str]":
    """Do a command; never raises for what a command or a device holds."""
    if len(args) != 3 or not isinstance(args[0], int) or not isinstance(args[1], bytes):
        return _REFUSED, "not a write"
    channel, data, until = args
    poller, unit, rule = _rule(node, channel)
    if rule is None:
        return _REFUSED, "channel %d is not writable" % channel
    now = node.clock.now()
    if not isinstance(until, int) or 0 < until < now:
        return _REFUSED, "too late"
    why = _against(rule, data)
    if why:
        return _REFUSED, why
    written: dict = getattr(poller, "written", None) or {}
    if rule[9] and channel in written and now - written[channel] < rule[9]:
        return _REFUSED, "too soon after the last one"
    job = _Job(node, poller, unit, rule)
    try:
        if rule[10] & _READABLE:
            await job.read()
            if job.quality != GOOD:
                return _NOT_SENT, "- - %d" % job.quality
        old = job.value
        written[channel] = node.clock.now()
        poller.written = written
        answered = await job.write(data)
        if answered >= EXCEPTION:
            return _EXCEPTION, "%s - %d" % (_hex(old), answered)
        if not job.sent:
            return _NOT_SENT, "%s - %d" % (_hex(old), answered)
        job.value = b""
        for pause in (0, _SETTLE_MS) if rule[10] & _READABLE else ():
            await sleep_ms(pause)
            await job.read()
            if job.value == data:
                break
        text = "%s %s %d" % (_hex(old), _hex(job.value), answered)
        if job.value == data and (answered == GOOD or old != data):
            return _READ_BACK, text
        if answered != GOOD:
            return _UNKNOWN, text
        return (_DIFFERS if job.value else _WRITTEN), text
    except Busy as e:
        return _NOT_SENT, str(e)


class _Job:
    """The transactions of one write. value: what was read last, empty if nothing was."""

    def __init__(self, node: "Node", poller: "Any", unit: int, rule: list) -> None:
        self._node = node
        self._poller = poller
        self._unit = unit
        self._rule = rule
        self._words = b""  # as on the wire
        self.value = b""
        self.quality = GOOD
        self.sent = False

    async def read(self) -> None:
        _, function, address, words, order = self._rule[:5]
        self.value = b""
        request = read_request(self._unit, 3 if words else 1, address, max(1, words))
        job = Asked(self._poller, request, _DEADLINE_MS)
        wake(self._node, self._poller)
        self.quality = await job.outcome(self._poller)
        if self.quality == GOOD:
            self._words = job.answer[2:]
            if not words:
                self.value = bytes((self._words[0] & 1,))
            elif len(self._rule) > 11:
                shift, mask = self._rule[11]
                self.value = ((self._words[0] << 8 | self._words[1]) >> shift & mask).to_bytes(2, "big")
            else:
                self.value = _ordered(self._words, words, order)

    async def write(self, data: bytes) -> int:
        job = Asked(self._poller, self._request(data), _DEADLINE_MS)
        wake(self._node, self._poller)
        quality = await job.outcome(self._poller)
        self.sent = job.sent
        return quality

    def _request(self, data: bytes) -> bytes:
        _, function, address, words, order = self._rule[:5]
        unit = 0 if self._rule[10] & _TO_ALL else self._unit
        if function == modbus_write.COIL:
            return modbus_write.write_coil(unit, address, data[0] > 0)
        if function == modbus_write.COILS:
            return modbus_write.write_coils(unit, address, data)
        if len(self._rule) > 11:
            shift, mask = self._rule[11]
            keep = ~(mask << shift) & 0xFFFF
            bits = (data[0] << 8 | data[1]) << shift
            if function == modbus_write.MASK:
                return modbus_write.mask_register(unit, address, keep, bits)
            bits |= (self._words[0] << 8 | self._words[1]) & keep
            data = bits.to_bytes(2, "big")
        else:
            data = _ordered(data, words, order)
        if function == modbus_write.REGISTER:
            return modbus_write.write_register(unit, address, data[0] << 8 | data[1])
        if function == modbus_write.READ_WRITE:
            return modbus_write.read_write(unit, address, len(data) // 2, address, data)
        return modbus_write.write_registers(unit, address, data)


def _rule(node: "Node", channel: int) -> "tuple[Any, int, Any]":
    """(poller, unit, rule) of a channel; the rule is None when the site file has none."""
    for _, source in node.sources:
        for unit, rules in getattr(source, "writable", ()):
            for rule in rules:
                if rule[0] == channel:
                    return source, unit, rule
    return None, 0, None


def _against(rule: list, data: bytes) -> str:
    """Why the rule does not allow the value; empty when it does."""
    words, kind, least, most, step = rule[3], rule[5], rule[6], rule[7], rule[8]
    if len(data) != max(1, 2 * words):
        return "a value of another size"
    if kind == _FLOAT:
        form = ">f" if words == 2 else ">d"
        value = struct.unpack(form, data)[0]
        if not struct.unpack(form, least)[0] <= value <= struct.unpack(form, most)[0]:
            return "out of range"
        return ""
    value = int.from_bytes(data, "big")
    if kind == _SIGNED and data[0] & 0x80:
        value -= 1 << 8 * len(data)
    if not least <= value <= most:
        return "out of range"
    if step and (value - least) % step:
        return "between two steps"
    return ""


def _ordered(data: bytes, words: int, order: int) -> bytes:
    """Bytes as on the wire, the most significant first; or the other way, which is the same."""
    out = bytearray(2 * words)
    reorder(bytearray(data), 0, words, order, out)
    return bytes(out)


def _hex(value: bytes) -> str:
    return value.hex() if value else "-"
