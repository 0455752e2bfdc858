"""What a diagnosis has found, in plain sentences. Pure."""

from collections.abc import Callable, Sequence

from gasan.host.i18n import _
from gasan.host.line_diagnosis import Cause, DeviceHealth, Finding
from gasan.host.store.counters import TURNAROUNDS

__all__ = ["device_line", "finding_text"]

_NAMES_SHOWN = 6
_SPANS_SHOWN = 3


def _texts() -> dict[Cause, str]:
    return {
        Cause.HEALTHY: _("{line}: nothing is wrong; {asked} requests were answered."),
        Cause.NOT_ASKED: _("{line}: nothing was asked in this time; does the node run?"),
        Cause.NO_CONNECTION: _(
            "{line}: there is no connection. Check the address and port, the network cable, and whether the "
            "device has Modbus TCP switched on."
        ),
        Cause.ALL_SILENT: _(
            "{line}: nobody answers at all. Probably A and B are swapped, the line hangs on another port, or "
            "baud rate and parity are others: swap the two wires, then run gasan modbus scan. With one "
            "device "
            "alone: its power and unit number too."
        ),
        Cause.ALL_GARBLED: _(
            "{line}: whatever comes is damaged. Probably baud rate or parity are others than in the site "
            "file: "
            "run gasan modbus scan."
        ),
        Cause.ECHO_ALONE: _(
            "{line}: the adapter hears only itself. Nobody answers: A and B swapped, no power, or other "
            "settings. The echo alone does no harm."
        ),
        Cause.ECHO: _(
            "{line}: the adapter hears its own requests (echo). It does no harm, and costs a little time."
        ),
        Cause.FOREIGN_MASTER: _(
            "{line}: another master polls this line; {count} of its requests were heard. Two masters disturb "
            "each other: switch it off or take its wires away."
        ),
        Cause.STRAYS: _(
            "{line}: {count} times something was heard that nobody had asked for, and that is no Modbus. "
            "Probably noise on an open line: check bias and termination. A master with another baud rate "
            "sounds alike."
        ),
        Cause.TOGETHER: _("{line}: all units fail together at {spans}: look for what starts then."),
        Cause.TOGETHER_SINCE: _(
            "{line}: all units have failed together since {since}: look for what happened then, to the "
            "line's wires, its supply or its settings."
        ),
        Cause.NOISE: _(
            "{line}: all units fail now and then, and only with CRC errors ({count} of {asked}). Probably "
            "noise: "
            "check the termination (120 ohm at both ends only), the ground wire, the shield, and the "
            "distance "
            "to motor cables."
        ),
        Cause.SILENT: _(
            "{line}: only {device} does not answer, and the others do: check its power, its unit number and "
            "its "
            "baud rate."
        ),
        Cause.SILENT_SINCE: _(
            "{line}: {device} has answered until {since}, and not since: check its power and its wires."
        ),
        Cause.GARBLED: _(
            "{line}: only {device} is never understood: its baud rate or parity is another, or two devices "
            "have "
            "its unit number."
        ),
        Cause.CRC_LONG: _(
            "{line}: only {device} fails, and only with CRC errors in its long answers ({count} of "
            "{asked}): check its "
            "termination."
        ),
        Cause.CRC_ONE: _(
            "{line}: only {device} fails, and only with CRC errors ({count} of {asked}): check its wires, "
            "its stub and "
            "its ground."
        ),
        Cause.LATE: _(
            "{line}: {device} is slow, and sometimes too slow ({count} of {asked}): raise its timeout in "
            "the site file."
        ),
        Cause.INTERMITTENT: _(
            "{line}: {device} sometimes does not answer ({count} of {asked}): look for a loose wire or a "
            "weak supply."
        ),
        Cause.REFUSED: _(
            "{line}: {device} refuses {channels} (exception {codes}): the profile does not fit this device "
            "or its "
            "version. See what it has with gasan modbus explore."
        ),
        Cause.FAILURE: _(
            "{line}: {device} reports a failure of its own (exception {codes}): see its display."
        ),
        Cause.BUSY: _(
            "{line}: {device} is busy (exception {codes}, {count} of {asked}): give it a longer period or "
            "gap."
        ),
        Cause.GATEWAY: _(
            "{line}: the gateway in front of {device} does not reach it (exception {codes}): check its "
            "serial line."
        ),
        Cause.MISFIT: _(
            "{line}: {device} gets answers that are not its own ({count} of {asked}): two devices may have "
            "its unit "
            "number, or another master polls this line."
        ),
    }


def finding_text(finding: Finding, clock: Callable[[int], str]) -> str:
    """One or two sentences; `clock` tells when a span of time with a number begins."""
    spans = [f"{clock(first)}-{clock(last + 1)}" for first, last in finding.spans[:_SPANS_SHOWN]]
    if len(finding.spans) > _SPANS_SHOWN:
        spans.append(_("and {n} more").format(n=len(finding.spans) - _SPANS_SHOWN))
    return _texts()[finding.cause].format(
        line=finding.line or _("line"),
        device=_named(finding.devices),
        count=finding.count,
        asked=finding.asked,
        spans=", ".join(spans),
        since=clock(finding.spans[0][0]) if finding.spans else "",
        codes=", ".join(map(str, finding.codes)),
        channels=_named(finding.channels),
    )


def device_line(device: DeviceHealth) -> str:
    """The figures of a device in one line."""
    asked = device.sum("asked")
    who = (
        device.name
        if device.unit is None
        else _("{device} (unit {unit})").format(device=device.name, unit=device.unit)
    )
    if not asked:
        return _("{who}: not asked").format(who=who)
    parts = [_("{n} requests").format(n=asked)]
    for what, words in (
        ("timeouts", _("{n} timeouts")),
        ("crc", _("{n} CRC errors")),
        ("misfits", _("{n} misfits")),
        ("disconnected", _("{n} without connection")),
    ):
        if device.sum(what):
            parts.append(words.format(n=device.sum(what)))
    codes = sorted({code for block in device.blocks for code in block.exceptions})
    parts += [
        _("{n} times exception {code}").format(n=device.exceptions((code,)), code=code) for code in codes
    ]
    answers = sum(device.turnaround)
    if answers:
        parts.append(_("turnaround {histogram}").format(histogram=_histogram(device.turnaround, answers)))
    if device.strays:
        parts.append(_("{n} strays").format(n=device.strays))
    return f"{who}: {', '.join(parts)}"


def _histogram(turnaround: Sequence[int], answers: int) -> str:
    shares = [
        f"{name} {100 * n / answers:.3g} %" for name, n in zip(TURNAROUNDS, turnaround, strict=True) if n
    ]
    return "[" + ", ".join(shares) + "]"


def _named(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    shown = ", ".join(unique[:_NAMES_SHOWN])
    return (
        shown
        if len(unique) <= _NAMES_SHOWN
        else _("{names} and {n} more").format(names=shown, n=len(unique) - _NAMES_SHOWN)
    )
