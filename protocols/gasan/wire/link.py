"""The link between a node and its gateway: the protocol's numbers, and what only a gateway needs (link.md).

A node does not load this: it has `gasan.wire.session` and the numbers as constants of its own.
"""

import binascii

from gasan.wire.cose import Hmac
from gasan.wire.session import SHAPES as _SHAPES_TO_NODE
from gasan.wire.session import LinkError, Session, settle, shaped, unarmour

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [  # beside the numbers below
    "LinkError",
    "Session",
    "armour",
    "body",
    "context",
    "link_key",
    "settle",
    "shaped",
    "unarmour",
]

VERSION = 1
ANNOUNCE = 0x01  # to the gateway, outside of a session: [version, node id, key generation, boot]
HELLO = 0x02  # to the node, outside of a session: [version, nonce, store id]
REPLY = 0x03  # to the gateway, outside of a session: [version, node id, generation, boot, nonce], then a MAC
WELCOME = 0x04  # to the node: [[* [boot, next, ranges]]]
DATA = 0x10  # to the gateway: one frame, as it is
ACK = 0x11  # to the node: [boot, next, ranges]
TIME_REQ = 0x12  # to the node: [id, t1]
TIME_RESP = 0x13  # to the gateway: [id, t2, t3]
STATUS = 0x14  # to the gateway: {+ key => value}
PUT = 0x15  # to the node: [kind, hash, total, offset, bytes]
PUT_ACK = 0x16  # to the gateway: [kind, hash, next offset, status]
COMMAND = 0x17  # to the node: [id, name, [* argument]]
RESULT = 0x18  # to the gateway: [id, status, text]
SEEN = 0x19  # to the gateway: [highest counter that the node has processed]
LOG = 0x1A  # to the gateway: text
BYE = 0x1B  # either way: the sender's session is over

TO_NODE = bytes((HELLO, WELCOME, ACK, TIME_REQ, PUT, COMMAND, BYE))
TO_GATEWAY = bytes((ANNOUNCE, REPLY, DATA, TIME_RESP, STATUS, PUT_ACK, RESULT, SEEN, LOG, BYE))

PUT_MORE = 0
PUT_COMPLETE = 1
PUT_REFUSED = 2
PUT_CHUNK = 128  # bytes of content in a PUT

HEAD = 6  # kind, session, counter
MAC = 8
NODE_PACKET_MAX = 250  # wire bytes of a packet to a node, both zeros included
CREDIT = 256  # wire bytes towards a node that it has not yet reported as seen
REPORT = 96  # a node reports when it has seen so many
WINDOW = 8  # frames sent and not yet acknowledged
RANGES_MAX = 8  # ranges in an acknowledgement

# Why a packet was refused: what a LinkError says, and what both ends count by.
MALFORMED = "malformed"  # too short, unknown kind, wrong shape
VERSION_UNKNOWN = "version"  # a hello, reply or announcement of another version
REFLECTED = "reflected"  # a kind that travels in the other direction
STALE = "stale"  # of another session
FORGED = "forged"  # the MAC is wrong
REPLAYED = "replayed"  # a counter that was seen before, or is older

_SHAPES = {
    ANNOUNCE: b"v\x08u\x08",
    REPLY: b"v\x08u\x08\x10",
    TIME_RESP: b"uuu",
    PUT_ACK: b"u\x08uu",
    RESULT: b"uut",
    SEEN: b"u",
}
_SHAPES.update(_SHAPES_TO_NODE)


def link_key(node_key: bytes) -> bytes:
    """The key of all sessions of a node, derived from the node's own key."""
    return Hmac(node_key).digest(b"gasan link 1")


def context(
    nonce_g: bytes, nonce_n: bytes, node_id: bytes, boot: bytes, store_id: bytes, generation: int
) -> bytes:
    """What the keys of a session are made of, beside the key."""
    return nonce_g + nonce_n + node_id + boot + store_id + bytes((generation,))


def body(kind: int, data: bytes) -> "list[Any]":
    """The checked body of a message: an array (not of STATUS, DATA and LOG). Raises `LinkError`."""
    return shaped(data, _SHAPES[kind])


def armour(packet: bytes) -> bytes:
    """A packet as it goes to a node: as text (base64), since to a console every control byte is a command.

    0x03 interrupts a program, 0x01 and 0x04 change or reset a prompt, and a gateway cannot know what a board
    does just now.
    """
    return binascii.b2a_base64(packet)[:-1]
