"""What a scan has found, in plain sentences, and what to do when it has found nothing. Pure."""

from gasan.host.i18n import _, ngettext
from gasan.host.modbus.scan import Device, Report, Traffic
from gasan.host.modbus.scan_tcp import TcpReport
from gasan.host.modbus.settings import units_text

__all__ = ["device_text", "duration_words", "scan_lines", "tcp_lines"]

_SHOWN = 8


def duration_words(seconds: float) -> str:
    """A length of time, roughly: "12 s", "3 min"."""
    if seconds < 100:
        return _("{n} s").format(n=max(1, round(seconds)))
    return _("{n} min").format(n=round(seconds / 60))


def scan_lines(report: Report, port: str) -> list[str]:
    """The result of a scan of a serial line. port: how the next command names it."""
    lines: list[str] = []
    if report.setting is not None:
        lines.append(
            _("Found at {setting} (baud rate, data bits, parity, stop bits):").format(setting=report.setting)
        )
        lines += [f"  {device_text(device)}" for device in report.devices]
        lines += _settings_lines(report)
    elif report.complete and report.requests:
        lines.append(_("Nobody answered."))
    if report.refused and report.traffic is not None:
        lines += _in_use_lines(report.traffic)
    elif report.traffic is not None:
        lines.append(_("Heard on the line without a question: {n} bytes.").format(n=report.traffic.size))
    lines += _disturbed_lines(report)
    if report.echo:
        lines.append(
            _("The adapter hears its own requests (echo). gasan allows for it; other programs may not.")
        )
    if report.unsupported:
        names = ", ".join(map(str, report.unsupported))
        lines.append(_("The adapter does not offer {settings}; not asked there.").format(settings=names))
    if report.complete and report.requests and report.setting is None and not report.disturbed:
        lines += _silence_advice()
    if report.setting is not None and report.devices:
        lines.append(_("Next: see what stands in it, with"))
        stop = f" --stop-bits {report.setting.stop}" if report.setting.stop != 1 else ""
        lines.append(
            f"  gasan modbus explore {port} --unit {report.devices[0].unit} "
            f"--baud {report.setting.baudrate} --parity {report.setting.parity_name}{stop}"
        )
    return lines


def tcp_lines(report: TcpReport, host: str, asked: str) -> list[str]:
    """The result of a scan of a Modbus TCP address. asked: how the next command names it."""
    if not report.devices:
        lines = [_("{host} takes connections, but no unit answered.").format(host=host)] * report.complete
        if report.absent and report.complete:
            lines.append(
                _("It is a gateway that finds nobody on its serial line: check that line and its settings.")
            )
        return lines
    if report.any_unit:
        lines = [_("{host} answers to any unit number; use 1:").format(host=host)]
    else:
        lines = [_("Found at {host}:").format(host=host)]
    lines += [f"  {device_text(device)}" for device in report.devices]
    lines.append(_("Next: see what stands in it, with"))
    return [*lines, f"  gasan modbus explore {asked} --unit {report.devices[0].unit}"]


def device_text(device: Device) -> str:
    """One line for one device."""
    parts = [_("unit {unit}").format(unit=device.unit)]
    if device.identity is not None:
        parts.append(str(device.identity))
    parts.append(_("answers after {n} ms").format(n=round(1000 * device.seconds)))
    if device.code:
        parts.append(
            _("refuses register 0 (exception {code}), which is an answer too").format(code=device.code)
        )
    if device.disturbed:
        parts.append(
            ngettext("{n} answer came damaged", "{n} answers came damaged", device.disturbed).format(
                n=device.disturbed
            )
        )
    return ", ".join(parts)


def _settings_lines(report: Report) -> list[str]:
    setting = report.setting
    assert setting is not None
    lines = []
    parities = [one for one in report.same if one.parity != setting.parity]
    if any(one.parity == setting.parity for one in report.same):
        lines.append(_("Whether it is set to one or two stop bits cannot be told by asking: both work."))
    if parities:
        names = ", ".join(map(str, parities))
        lines.append(
            _(
                "It also answers at {settings}: it does not check parity. Take what its display says, if any."
            ).format(settings=names)
        )
    return lines


def _in_use_lines(traffic: Traffic) -> list[str]:
    lines = [
        _("The line is in use: {n} bytes came without a question, so nothing more is asked.").format(
            n=traffic.size
        )
    ]
    if traffic.setting is not None:
        lines.append(
            _("Heard by listening alone: {baud} baud, units {units} (parity cannot be heard).").format(
                baud=traffic.setting.baudrate, units=units_text(traffic.units)
            )
        )
        lines.append(
            _("Another master polls this line. Switch it off or take its wires away, then scan again.")
        )
    else:
        lines.append(
            _(
                "No whole frame was heard: another master at other settings, or noise on an open line "
                "(no bias, no termination, a loose wire)."
            )
        )
    lines.append(_("To ask in spite of it, add --force: a request may then collide with the other master's."))
    return lines


def _disturbed_lines(report: Report) -> list[str]:
    if not report.disturbed:
        return []
    lines = [_("Something answers, but damaged (CRC errors):")]
    for one in report.disturbed[:_SHOWN]:
        told = _("{setting}, unit {unit}: {bytes}")
        lines.append("  " + told.format(setting=one.setting, unit=one.unit, bytes=one.heard.hex(" ")))
    if len(report.disturbed) > _SHOWN:
        lines.append("  " + _("and {n} more").format(n=len(report.disturbed) - _SHOWN))
    units = {one.unit for one in report.disturbed}
    if len(report.disturbed) == 1 and report.setting is not None:
        lines.append(
            _("Probably two devices have this unit number: disconnect one of them, and give it another.")
        )
    elif len(units) == 1:
        lines.append(
            _("Probably the settings are nearly right, or two devices have this unit number: try each alone.")
        )
    else:
        lines.append(
            _(
                "Probably noise: check the termination (120 ohm at both ends only), the ground wire, "
                "the shield, and the distance to motor cables."
            )
        )
    return lines


def _silence_advice() -> list[str]:
    advice = [
        _("Has every device power, and is Modbus RTU switched on in its menu?"),
        _("Are A and B swapped? Makers name them differently: swap the two wires, and scan again."),
        _("Is there a ground wire between adapter and device, and is the adapter RS-485 (not RS-232)?"),
        _("Is the line terminated at both ends, and at no other place?"),
        _("Scan with one device alone on a short cable; then the line is to blame, or the device."),
        _("Slow devices: add --timeout 500. Unusual settings: add --stop-bits 1,2 or name --baud."),
    ]
    return [_("What to look at, in this order:"), *(f"  {n}. {text}" for n, text in enumerate(advice, 1))]
