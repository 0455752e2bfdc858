"""`gasan modbus health`: what is wrong with the lines, in plain words."""

import json
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.cli.options import command_options, database, database_options, json_option, seconds_option
from gasan.host.cli.progress import progress_bar
from gasan.host.cli.times import parse_moment
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.line_diagnosis import Cause, DeviceHealth, Finding, diagnose
from gasan.host.line_health_text import device_line, finding_text
from gasan.host.problems import instead
from gasan.host.store import open_reader
from gasan.host.store.counters import TURNAROUNDS
from gasan.host.store.errors import reading
from gasan.host.store.lines import line_health

__all__ = ["health"]

_SPANS = 72  # of 20 minutes in a day
_LATE_S = 15  # until what was read has been sent and stored
_TREND = "▁▂▃▄▅▆▇█"
_SHOWN = 24  # spans of a trend on one line


@click.command(
    help=_(
        "Say what is probably wrong with the Modbus lines of NODE, or of all nodes, from what is stored: "
        "timeouts, "
        "CRC errors, exceptions, how long devices take, and how that went over the time."
    )
)
@click.argument("node", required=False)
@click.option("--since", default="1d", show_default=True, help=_("From then on: 2h (ago), 2026-03-01."))
@click.option("--until", help=_("Until then; the same forms."))
@seconds_option
@json_option
@database_options
@command_options
def health(
    node: str | None,
    since: str,
    until: str | None,
    seconds: float | None,
    as_json: bool,
    state: Path,
    db: Path | None,
) -> int:
    """--seconds: look afresh for so long, and judge that alone."""
    since_ms = parse_moment(since)
    if seconds is not None:
        since_ms = _now()
        _wait(seconds)
    until_ms = _now() if until is None else parse_moment(until)
    if until_ms <= since_ms:
        raise InputError(_("--until is before --since; write the earlier moment first"))
    path = database(state, db)
    with closing(open_reader(path)) as connection, reading(path):
        names = _nodes(connection, node)
        told = {name: _health(connection, name, since_ms, until_ms) for name in names}
    step = -(-(until_ms - since_ms) // _SPANS)
    findings = {name: diagnose(devices) for name, devices in told.items()}
    if as_json:
        described = {
            name: {
                "devices": [_device(one) for one in devices],
                "findings": [_finding(one, since_ms, step) for one in findings[name]],
            }
            for name, devices in told.items()
        }
        click.echo(
            json.dumps({"since_ms": since_ms, "until_ms": until_ms, "nodes": described}, ensure_ascii=False)
        )
    else:
        for name, devices in told.items():
            _print(name, devices, findings[name], since_ms, step)
    well = all(one.cause in (Cause.HEALTHY, Cause.ECHO) for found in findings.values() for one in found)
    return ExitCode.OK if well else ExitCode.FAILED


def _now() -> int:
    return time.time_ns() // 1_000_000


def _wait(seconds: float) -> None:
    """Readings are sent when a batch is full or old; until then they are not here."""
    with progress_bar() as bar:
        steps = max(1, round((seconds + _LATE_S) * 4))
        for _step in bar.track(range(steps), description=_("listening")):
            time.sleep((seconds + _LATE_S) / steps)


def _nodes(connection: sqlite3.Connection, node: str | None) -> list[str]:
    known = [
        name
        for (name,) in connection.execute(
            "SELECT DISTINCT node.name FROM node JOIN revision ON revision.node = node.id"
            " JOIN modbus_device ON modbus_device.revision = revision.id ORDER BY node.id"
        )
    ]
    if node is None and known:
        return known
    if node is None or node not in known:
        if not known:
            raise InputError(
                _("no node with a Modbus line has been here yet; start the gateway with gasan up")
            )
        raise InputError(
            _('there is no node "{name}" with a Modbus line; {instead}').format(
                name=node, instead=instead(str(node), known)
            )
        )
    return [node]


def _health(connection: sqlite3.Connection, name: str, since_ms: int, until_ms: int) -> list[DeviceHealth]:
    with progress_bar() as bar:
        task = bar.add_task(name, total=_SPANS)
        return line_health(
            connection, name, since_ms, until_ms, _SPANS, lambda done: bar.update(task, completed=done)
        )


def _print(name: str, devices: list[DeviceHealth], findings: list[Finding], since_ms: int, step: int) -> None:
    click.echo(_("{node}, since {moment}:").format(node=name, moment=_clock(since_ms, 0, step)))
    for finding in findings:
        click.echo("  " + finding_text(finding, lambda span: _clock(since_ms, span, step)))
    for device in devices:
        click.echo("    " + device_line(device))
        trend = _trend(device)
        if trend:
            click.echo("      " + _("failed over the time: {trend}").format(trend=trend))


def _trend(device: DeviceHealth) -> str:
    """A character for each three spans: how much of it failed; a point where nothing was asked."""
    if not device.lost:
        return ""
    out = ""
    each = len(device.timeline) // _SHOWN
    for at in range(0, len(device.timeline), each):
        asked = sum(span[0] for span in device.timeline[at : at + each])
        lost = sum(span[1] for span in device.timeline[at : at + each])
        share = lost / asked if asked else 0.0
        out += "·" if not asked else _TREND[min(7, -(-int(1000 * share) * 7 // 1000))]
    return out


def _clock(since_ms: int, span: int, step: int) -> str:
    moment = datetime.fromtimestamp((since_ms + span * step) / 1000).astimezone()
    if 72 * step > 86_400_000 * 1.5:
        return f"{moment:%Y-%m-%d %H:%M}"
    return f"{moment:%H:%M}" if step >= 60_000 else f"{moment:%H:%M:%S}"


def _device(device: DeviceHealth) -> dict[str, Any]:
    codes = sorted({code for block in device.blocks for code in block.exceptions})
    return {
        "device": device.name,
        "line": device.line,
        "unit": device.unit,
        "setting": device.setting,
        "requests": device.sum("asked"),
        "timeouts": device.sum("timeouts"),
        "crc_errors": device.sum("crc"),
        "misfits": device.sum("misfits"),
        "disconnected": device.sum("disconnected"),
        "exceptions": {str(code): device.exceptions((code,)) for code in codes},
        "turnaround": dict(zip(TURNAROUNDS, device.turnaround, strict=True)),
        "sent": dict(zip(("timeouts", "crc_errors"), device.sent, strict=True)),
        "strays": device.strays,
        "foreign_requests": device.foreign,
        "trend": [{"requests": asked, "failed": lost} for asked, lost in device.timeline],
    }


def _finding(finding: Finding, since_ms: int, step: int) -> dict[str, Any]:
    return {
        "cause": finding.cause.value,
        "line": finding.line,
        "devices": list(finding.devices),
        "count": finding.count,
        "requests": finding.asked,
        "spans_ms": [
            [since_ms + first * step, since_ms + (last + 1) * step] for first, last in finding.spans
        ],
        "exceptions": list(finding.codes),
        "channels": list(dict.fromkeys(finding.channels)),
        "text": finding_text(finding, lambda span: _clock(since_ms, span, step)),
    }
