"""Pairing with sensors, and keys of it that last. Loaded only where the config pairs with one.

MicroPython hands out the keys of a pairing and asks for them before it encrypts a connection again
(`_IRQ_SET_SECRET`, `_IRQ_GET_SECRET`). Kept are those of sensors that the config pairs with, in /secret/bonds
beside the node's own key: CBOR [* [kind, key, value]], as the port gave them; key: address type and address,
little-endian. With a sensor's entry in the config its keys go, too.

A sensor that was paired with is read only over a connection that its key encrypts. It is not paired with anew
by itself: whoever took its address would be, too.
"""

from gasan.node import log, radio
from gasan.node.ble_gatt import NONE, VisitError, WrongKeyError
from gasan.wire import cbor
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.ble_gatt import Gatt, Peer

path = "/secret/bonds"  # a test has another one

_ENCRYPTED, _GET, _SET = const(28), const(29), const(30)  # interrupts
_PEERS_MOST = const(8)
_OURS, _THEIRS = const(1), const(2)  # kinds of secrets, as NimBLE counts them
_VALUE_MOST = const(160)  # bytes; NimBLE's have some 80
_FILE_MOST = const(4096)
_PAIR_MS = const(15000)
_NO_INPUT_OUTPUT = const(3)


class Bonds:
    """The keys of ``peers``. changed: they are not in the file yet."""

    def __init__(self, peers: "list[Peer]") -> None:
        self._wanted = [_key(peer) for peer in peers if peer.pair]
        if len(self._wanted) > _PEERS_MOST:
            raise ValueError("more sensors to pair with than this firmware takes")
        self._kept: "dict[tuple[int, bytes], bytes]" = {}
        self._connection = NONE  # the one that is being encrypted
        self._result: "tuple | None" = None
        self._anew = False  # it was paired with anew
        self.changed = False
        self._load()
        radio.irq(self.irq)

    async def secure(self, gatt: "Gatt", peer: "Peer") -> None:
        """Encrypt the connection with the key of the pairing; pair, if there was none. Raises VisitError."""
        known = (_THEIRS, _key(peer)) in self._kept
        self._result = None
        self._anew = False
        self._connection = peer.connection
        try:
            radio.ble.config(bond=True, le_secure=True, mitm=False, io=_NO_INPUT_OUTPUT)  # type: ignore[call-arg]
            radio.ble.gap_pair(peer.connection)  # type: ignore[attr-defined]  # the stubs lack it
        except (ValueError, AttributeError):
            raise VisitError("MicroPython on this board cannot pair: it was built without")
        await gatt.until(lambda: self._result or peer.connection == NONE, _PAIR_MS, "it does not pair")
        if self._anew or not self._result or not self._result[1]:
            if known:
                raise WrongKeyError("it does not have the key that it was paired with; it is not read")
            raise VisitError("it has refused to pair")

    async def save(self, keep: "Any") -> None:
        """Write the file. keep: calls what writes to flash while the lines are quiet."""
        if keep:
            await keep(self._write)
        else:
            self._write()

    def _write(self) -> None:
        from gasan.ota.slots import replace

        self.changed = False
        try:
            replace(path, cbor.dumps([[kind, key, value] for (kind, key), value in self._kept.items()]))
        except OSError as e:
            log.warn("%s: %r; what was paired will have to be again" % (path, e))

    def irq(self, event: int, data: tuple) -> "Any":
        """What the port asks for: a key or None; whether a key is kept."""
        if event == _ENCRYPTED:
            if data[0] == self._connection:
                self._result = data
        elif event == _GET:
            kind, index, key = data
            if key is not None:
                return self._kept.get((kind, bytes(key)))
            for (its, _), value in self._kept.items():
                if its == kind:
                    if not index:
                        return value
                    index -= 1
        elif event == _SET:
            kind, key, value = data
            place = (kind, bytes(key))
            if value is None:
                if not self._kept.pop(place, None):
                    return False
            elif kind not in (_OURS, _THEIRS) or place[1] not in self._wanted or len(value) > _VALUE_MOST:
                return False
            elif place in self._kept:
                if self._kept[place] == value:
                    return True
                self._anew = True  # the sensor has asked for it, and the port has done it
                return False
            else:
                self._kept[place] = bytes(value)
            self.changed = True
            return True
        return None

    def _load(self) -> None:
        """Take from the file what is still wanted."""
        try:
            with open(path, "rb") as f:
                for kind, key, value in cbor.loads(f.read(_FILE_MOST)):
                    if key in self._wanted:
                        self._kept[(kind, key)] = value
                    else:
                        self.changed = True
        except OSError:
            pass  # nothing was paired with yet
        except (ValueError, TypeError) as e:
            log.error("%s: %s" % (path, e))


def _key(peer: "Peer") -> bytes:
    """As NimBLE names a peer."""
    return bytes((peer.kind,)) + bytes(reversed(peer.address))
