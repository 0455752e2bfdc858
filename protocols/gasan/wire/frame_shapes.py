"""The shapes of what frames other than data hold (protocols/frame.cddl), checked after decoding."""

from gasan.wire.frame import BIRTH, BOOT, CRASH, HEALTH, FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CRASH_MAX = 1024


def check_content(kind: int, content: "Any") -> None:
    """Raise FrameError unless the decoded content of a frame has the shape that its kind wants."""
    if kind == BOOT:
        ok = _is_boot(content)
    elif kind == BIRTH:
        ok = _is_birth(content)
    elif kind == HEALTH:
        ok = isinstance(content, dict) and all(_is_uint(k) and _is_uint(v) for k, v in content.items())
    elif kind == CRASH:
        ok = isinstance(content, str) and len(content.encode()) <= CRASH_MAX
    else:
        ok = _is_tombstone(content)
    if not ok:
        raise FrameError("content of another shape than frames of kind %d have" % kind)


def _is_int(value: "Any") -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 64


def _is_uint(value: "Any") -> bool:
    return _is_int(value) and value >= 0


def _is_id(value: "Any") -> bool:
    return isinstance(value, bytes) and len(value) == 8


def _is_boot(content: "Any") -> bool:
    """{1: ordinal, 2: boot before, 3: its seq, 4: its count, 5: cause, 6: firmware, 7: board, 8: config}"""
    return (
        isinstance(content, dict)
        and len(content) == 8
        and all(key in content for key in range(1, 9))
        and _is_uint(content[1])
        and (content[2] is None or _is_id(content[2]))
        and (content[3] is None or _is_uint(content[3]))
        and (content[4] is None or _is_uint(content[4]))
        and _is_uint(content[5])
        and isinstance(content[6], str)
        and isinstance(content[7], str)
        and _is_uint(content[8])
    )


def _is_birth(content: "Any") -> bool:
    """[part, parts, first channel, [+ channel]]"""
    return (
        isinstance(content, list)
        and len(content) == 4
        and all(_is_uint(number) for number in content[:3])
        and content[0] < content[1]
        and isinstance(content[3], list)
        and len(content[3]) > 0
        and all(_is_channel(channel) for channel in content[3])
    )


def _is_channel(channel: "Any") -> bool:
    """[device, name, unit, type, num, den, off, period, {? 1: shift, ? 2: mask, ? 3: labels, ? 4: label,
    ? 5: form, ? 6: [* no value], ? 7: bits below the decimals}]
    """
    return (
        isinstance(channel, list)
        and len(channel) == 9
        and all(isinstance(text, str) for text in channel[:3])
        and all(_is_int(number) for number in channel[3:8])
        and (1 <= channel[3] <= 10 or 32 < channel[3] < 64)
        and channel[5] > 0
        and channel[7] >= 0
        and isinstance(channel[8], dict)
        and all(_is_extra(key, value) for key, value in channel[8].items())
    )


def _is_extra(key: "Any", value: "Any") -> bool:
    if key == 3:
        return isinstance(value, dict) and all(_is_int(k) and isinstance(v, str) for k, v in value.items())
    if key == 4:
        return isinstance(value, str)
    if key == 6:
        return isinstance(value, list) and all(_is_int(number) for number in value)
    return key in (1, 2, 5, 7) and _is_uint(value)


def _is_tombstone(content: "Any") -> bool:
    """[reason, boot, first seq, last seq, readings, mono from, mono to, [* (channel, readings)]]"""
    return (
        isinstance(content, list)
        and len(content) == 8
        and _is_id(content[1])
        and all(_is_uint(content[i]) for i in (0, 2, 3, 4, 5, 6))
        and content[2] <= content[3]
        and isinstance(content[7], list)
        and len(content[7]) % 2 == 0
        and all(_is_uint(number) for number in content[7])
    )
