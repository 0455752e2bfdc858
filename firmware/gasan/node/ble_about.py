"""What a sensor says of itself: its Device Information Service, read once and told to the log.

Loaded only where a profile asks for it, when the sensor is first connected to.
"""

from gasan.node import log
from gasan.node.ble_gatt import NONE, VisitError
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.ble_gatt import Gatt, Peer

_SERVICE = b"\x0a\x18"
# Device Information Service 1.1, 3: name of the maker, model, serial number, revision of the firmware.
_TEXTS = ((b"\x29\x2a", "maker"), (b"\x24\x2a", "model"), (b"\x25\x2a", "serial"), (b"\x26\x2a", "firmware"))
_MOST = const(40)  # characters of each


async def tell(gatt: "Gatt", peer: "Peer") -> None:
    """Read what there is of it. Raises VisitError and OSError when the connection has ended."""
    said = []
    places = await gatt.find(peer, [(_SERVICE, uuid, False) for uuid, _ in _TEXTS], False)
    for k in range(len(_TEXTS)):
        if places[k][0]:
            try:
                text = _clean(await gatt.read(peer, places[k][0]))
                said.append("%s %s" % (_TEXTS[k][1], text))
            except VisitError:
                if peer.connection == NONE:
                    raise
    log.info("ble: %s: %s" % (peer.name, ", ".join(said) or "it says nothing of itself"))
    peer.about = False


def _clean(value: bytes) -> str:
    """What can be shown of it; some sensors end their texts with zeros."""
    try:
        text = str(value.rstrip(b"\x00"), "utf-8")
    except UnicodeError:
        text = "".join([chr(byte) if byte < 127 else "?" for byte in value])
    return "".join([one if one >= " " else "?" for one in text[:_MOST]])
