"""RTU frames among whatever was heard on a line. Pure; bytes from outside never raise."""

from dataclasses import dataclass
from enum import Enum

from gasan.wire.modbus_rtu import crc16

__all__ = ["Frame", "Kind", "Reply", "absent_behind_gateway", "frames_in", "judge_pdu", "judge_rtu", "rtu"]

_READS = (1, 2, 3, 4)
_REQUEST_8 = (1, 2, 3, 4, 5, 6)
_MULTIPLE = (15, 16)
_REPORT_ID = 17
_IDENTIFY = 43
_KNOWN = frozenset({*_REQUEST_8, *_MULTIPLE, _REPORT_ID, 22, 23, _IDENTIFY})
_EXCEPTIONS = range(1, 256)  # the specification names 1 to 11; makers have codes of their own
_UNITS = range(1, 248)
_GLITCH = 2  # bytes that a line without bias makes when a driver is switched on or off


class Kind(Enum):
    """What came of a request."""

    ANSWER = "answer"
    EXCEPTION = "exception"  # a refusal: the device is there
    SILENCE = "silence"
    GARBAGE = "garbage"  # bytes, but no frame
    FOREIGN = "foreign"  # a frame, but of another unit or to another request


@dataclass(frozen=True)
class Frame:
    """A frame with a right CRC: unit and what follows it, without the CRC; where it stood."""

    unit: int
    pdu: bytes
    position: int

    @property
    def function(self) -> int:
        return self.pdu[0] & 0x7F


@dataclass(frozen=True)
class Reply:
    """What came of a request: the answer's function and data (`pdu`), or the exception's `code`.

    seconds: from the end of the request to the verdict. stray: bytes that came before the request was sent.
    heard: everything that came after it. echo: the adapter has heard its own request. late: units,
    and what has come meanwhile of requests to them that had been given up.
    """

    kind: Kind
    pdu: bytes = b""
    code: int = 0
    seconds: float = 0.0
    stray: bytes = b""
    heard: bytes = b""
    echo: bool = False
    late: tuple[tuple[int, "Reply"], ...] = ()

    @property
    def there(self) -> bool:
        """Somebody with this unit number has answered."""
        return self.kind in (Kind.ANSWER, Kind.EXCEPTION)


def rtu(unit: int, pdu: bytes) -> bytes:
    """The frame, with its CRC."""
    body = bytes([unit]) + pdu
    return body + crc16(body, 0, len(body)).to_bytes(2, "little")


def judge_pdu(asked: bytes, came: bytes) -> tuple[Kind, int]:
    """Whether ``came`` answers the request ``asked`` (both: function and data); the exception's code."""
    if len(came) == 2 and came[0] == asked[0] | 0x80 and came[1] in _EXCEPTIONS:
        return Kind.EXCEPTION, came[1]
    if len(came) < 2 or came[0] != asked[0]:
        return Kind.FOREIGN, 0
    if asked[0] in (3, 4):
        size = 2 * int.from_bytes(asked[3:5], "big")
        right = came[1] == size and len(came) == 2 + size
    elif asked[0] == _REPORT_ID:
        right = len(came) == 2 + came[1]
    elif asked[0] == _IDENTIFY:
        right = came[1:3] == asked[1:3] and _identity_size(came) == len(came)
    else:
        right = False
    return (Kind.ANSWER if right else Kind.FOREIGN), 0


def judge_rtu(request: bytes, heard: bytes) -> Reply:
    """What ``heard`` says as the answer to the frame ``request``."""
    begin = heard.find(request, 0, len(request) + _GLITCH)
    echo = begin >= 0
    rest = heard[begin + len(request) :] if echo else heard
    if len(rest) <= _GLITCH:
        return Reply(Kind.SILENCE, heard=heard, echo=echo)
    asked = request[1:-2]
    frames = frames_in(rest)
    for frame in frames:
        if frame.unit != request[0]:
            continue
        kind, code = judge_pdu(asked, frame.pdu)
        if kind is not Kind.FOREIGN:
            return Reply(kind, frame.pdu, code, heard=heard, echo=echo)
    return Reply(Kind.FOREIGN if frames else Kind.GARBAGE, heard=heard, echo=echo)


def frames_in(data: bytes) -> list[Frame]:
    """Every frame of a known function whose length and CRC are right, not overlapping, in order."""
    found = []
    position = 0
    while position + 4 <= len(data):
        size = _frame_at(data, position)
        if size:
            found.append(Frame(data[position], data[position + 1 : position + size - 2], position))
        position += size or 1
    return found


def absent_behind_gateway(reply: Reply) -> bool:
    """A TCP gateway says that it has no such unit (exceptions 10 and 11)."""
    return reply.kind is Kind.EXCEPTION and reply.code in (10, 11)


def _frame_at(data: bytes, position: int) -> int:
    """Size of the frame that begins here; 0: none does."""
    if data[position] not in _UNITS or data[position + 1] & 0x7F not in _KNOWN:
        return 0
    for size in _sizes(data, position):
        if position + size <= len(data) and crc16(data, position, position + size) == 0:
            return size
    return 0


def _sizes(data: bytes, position: int) -> list[int]:
    """The sizes that a frame beginning here may have, as request or as answer."""
    function = data[position + 1]
    third = data[position + 2]
    if function & 0x80:
        return [5] if third in _EXCEPTIONS else []
    if function in _READS or function == 23:
        sizes = [8, 5 + third] if function != 23 else [5 + third]
        if function == 23 and position + 10 < len(data):
            sizes.append(13 + data[position + 10])
        return sizes
    if function in _MULTIPLE:
        return [8, 9 + data[position + 6]] if position + 6 < len(data) else [8]
    if function == _REPORT_ID:
        return [4, 5 + third]
    if function == 22:
        return [10]
    if function == _IDENTIFY:
        return [7, 3 + _identity_size(data[position + 1 :])]
    return [8]


def _identity_size(pdu: bytes) -> int:
    """Bytes of an answer to function 43/14 that begins ``pdu``, as far as it goes; 0: none."""
    if len(pdu) < 7:
        return 0
    size = 7
    for _count in range(pdu[6]):
        if size + 2 > len(pdu):
            return 0
        size += 2 + pdu[size + 1]
    return size
