"""What is in the air around a node, for `gasan ble sniff --node`: everybody, not only configured sensors.

Loaded by the first command, gone after the last one, or when no more come. The command is [ms]: listen so
long, then tell; 0 ends it. Answer: 0 and "UNNOTED RECORDS", the records in base64, some at a time, each

    kind (bit 0: a random address, bit 1: a scan response), address 6, RSSI, adverts 2, size, advertising data

of the last advert and the adverts since the record was told last. There are `_SLOTS` records; one that was
told gives way to a newcomer, and adverts that find no place are counted as unnoted.
"""

import binascii
import sys
from asyncio import create_task, sleep_ms
from time import ticks_add, ticks_diff, ticks_ms

import bluetooth
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.app import Node

_DONE = const(0)  # codes of the answer
_REFUSED = const(12)

_IRQ_SCAN_RESULT = const(5)
_RESPONSE = const(4)  # type of an advertisement
_SLOTS = const(24)
_SLOT = const(42)
_ADVERT = const(31)
_COUNT_MAX = const(0xFFFF)
_TOLD = const(8)  # records in an answer
_MS_MAX = const(3000)
_QUIET_MS = const(15000)  # without a command, it ends by itself

_ears: "list[Ear]" = []


async def hear(node: "Node", args: list) -> "tuple[int, str]":
    """Do a command; never raises for what it holds."""
    ms = args[0] if len(args) == 1 else None
    if not isinstance(ms, int) or not 0 <= ms <= _MS_MAX:
        return _REFUSED, "not a time to listen"
    if not _ears:
        for _, source in node.sources:
            if ms and hasattr(source, "_scan"):
                _ears.append(Ear(source))
                break
        else:
            forget()
            return (_REFUSED, "this node has no bus for Bluetooth") if ms else (_DONE, "0 ")
    ear = _ears[0]
    if not ms:
        ear.close()
        return _DONE, "0 "
    ear.hook()
    ear.until = ticks_add(ticks_ms(), ms + _QUIET_MS)
    await sleep_ms(ms)
    return _DONE, "%d %s" % (ear.unnoted, binascii.b2a_base64(bytes(ear.tell()))[:-1].decode())


def forget() -> None:
    """Have the memory of this module back."""
    name = "ble_hear"
    if sys.modules.pop("gasan.node." + name, None):
        delattr(sys.modules["gasan.node"], name)


class Ear:
    """Listens beside a source, as long as there are commands."""

    def __init__(self, source: "Any") -> None:
        self._slots = bytearray(_SLOTS * _SLOT)
        self.unnoted = 0
        self._turn = 0
        self._source = source
        self._lent = not getattr(source, "_listens", True)  # it scans for nobody of its own
        self._radio = sys.modules.get("gasan.node.radio")
        self._handler = self._irq  # the same object for its whole life
        if self._lent:
            source._listens = True
            source._scanning = False
        self.hook()
        self.until = ticks_add(ticks_ms(), _QUIET_MS)
        self._task = create_task(self._wait())

    def hook(self) -> None:
        """Be called by the radio; a source that was started again has taken that for itself alone."""
        if self._radio:
            self._radio.irq(self._handler)
        else:
            bluetooth.BLE().irq(self._both)

    async def _wait(self) -> None:
        while ticks_diff(self.until, ticks_ms()) > 0:
            await sleep_ms(500)
        self._close()

    def close(self) -> None:
        self._task.cancel()
        self._close()

    def _close(self) -> None:
        if self._radio:
            self._radio._handlers.remove(self._handler)
        else:
            bluetooth.BLE().irq(self._source._irq)
        if self._lent:
            self._source._listens = False
            try:
                self._source._ble.gap_scan(None)
            except OSError:
                pass  # then it does not scan
        _ears.clear()
        forget()

    def _both(self, event: int, data: tuple) -> "Any":
        self._irq(event, data)
        return self._source._irq(event, data)

    def _irq(self, event: int, data: tuple) -> None:
        """Runs between any two bytecodes of a task: copies and returns."""
        size = len(data[4]) if event == _IRQ_SCAN_RESULT else _COUNT_MAX
        if size > _ADVERT:
            return
        address = data[1]
        kind = data[0] & 1 | (2 if data[2] == _RESPONSE else 0)
        slots = self._slots
        free = -1
        for at in range(0, _SLOTS * _SLOT, _SLOT):
            if slots[at + 6] == address[5] and slots[at] == kind and self._is(at + 1, address):
                free = at
                break
            if free < 0 and not slots[at + 8] and not slots[at + 9]:
                free = at
        if free < 0:
            self.unnoted += 1
            return
        at = free
        slots[at] = kind
        for k in range(6):
            slots[at + 1 + k] = address[k]
        slots[at + 7] = data[3] & 0xFF
        count = slots[at + 8] << 8 | slots[at + 9]
        if count < _COUNT_MAX:
            count += 1
        slots[at + 8] = count >> 8
        slots[at + 9] = count & 0xFF
        slots[at + 10] = size
        advert = data[4]
        for k in range(size):
            slots[at + 11 + k] = advert[k]

    def _is(self, at: int, address: "Any") -> bool:
        for k in range(6):
            if self._slots[at + k] != address[k]:
                return False
        return True

    def tell(self) -> bytearray:
        """Records that are news, at most `_TOLD`; those that were not told last come first."""
        told = bytearray()
        slots = self._slots
        for _ in range(_SLOTS):
            at = self._turn * _SLOT
            self._turn = (self._turn + 1) % _SLOTS
            if slots[at + 8] or slots[at + 9]:
                one = slots[at : at + _SLOT]  # at once: the interrupt may write another one there
                told.extend(one[: 11 + one[10]])
                slots[at + 8] = slots[at + 9] = 0
                if len(told) > (_TOLD - 1) * _SLOT:
                    break
        return told
