"""`gasan modbus scan`: finds settings and units by reads alone."""

import json
import time
from pathlib import Path
from typing import Any

import click
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.cli.options import command_options, json_option
from gasan.host.cli.progress import progress_bar
from gasan.host.cli.through import check_where, node_options
from gasan.host.errors import TryAgainError
from gasan.host.i18n import _
from gasan.host.modbus.node_line import NodeLine
from gasan.host.modbus.order import Timing
from gasan.host.modbus.ports import SerialLine, TcpLine, is_serial, parse_host
from gasan.host.modbus.scan import Device, Progress, Report, Scan
from gasan.host.modbus.scan_tcp import TCP_UNITS, TcpReport, scan_tcp
from gasan.host.modbus.scan_text import duration_words, scan_lines, tcp_lines
from gasan.host.modbus.settings import (
    BAUDRATES,
    PARITIES,
    Setting,
    parse_bauds,
    parse_parities,
    parse_stops,
    parse_units,
)

__all__ = ["scan"]

_TCP_TIMEOUT_MS = 1000


@click.command(
    help=_(
        "Find the settings and units of an unknown line. PORT is a serial adapter such as /dev/ttyUSB0; "
        "HOST[:PORT] is a Modbus TCP address. It only reads, never writes and never broadcasts, and it asks "
        "nothing on a line on which somebody else speaks. Ctrl-C shows what was found so far."
    )
)
@click.argument("where", metavar="[PORT|HOST[:PORT]]", required=False)
@node_options
@click.option("--baud", default=",".join(map(str, BAUDRATES)), help=_("Baud rates, for example 9600,19200."))
@click.option("--parity", default=",".join(PARITIES), show_default=True, help=_("Parities: none, even, odd."))
@click.option("--stop-bits", default="1", show_default=True, help=_("Stop bits: 1, 2 or 1,2."))
@click.option("--units", help=_("Units, for example 1-10,17; otherwise 1-247."))
@click.option(
    "--timeout",
    "timeout_ms",
    type=click.IntRange(20, 10_000),
    help=_("Milliseconds until a device begins to answer; otherwise 120 (TCP: 1000)."),
)
@click.option(
    "--listen",
    "listen_s",
    type=click.FloatRange(0, 3600),
    default=2.0,
    show_default=True,
    help=_("Seconds to listen for another master before anything is asked."),
)
@click.option("--force", is_flag=True, help=_("Ask even if somebody else speaks on the line."))
@json_option
@command_options
def scan(
    where: str | None,
    node: str | None,
    bus: str | None,
    state: Path,
    baud: str,
    parity: str,
    stop_bits: str,
    units: str | None,
    timeout_ms: int | None,
    listen_s: float,
    force: bool,
    as_json: bool,
) -> int:
    check_where(where, node, timeout_ms)
    through = None if node is None else NodeLine(state, node, bus)
    if through is not None:
        where = f"{node} {through.name}"
    assert where is not None
    if through.tcp if through is not None else not is_serial(where):
        return _scan_tcp(where, through, units, timeout_ms or _TCP_TIMEOUT_MS, as_json)
    settings = [
        Setting(rate, letter, stop)
        for rate in parse_bauds(baud)
        for letter in parse_parities(parity)
        for stop in parse_stops(stop_bits)
    ]
    chosen = parse_units(units or "1-247")
    timing = Timing() if timeout_ms is None else Timing(timeout_ms / 1000, 2.5 * timeout_ms / 1000)
    start = time.monotonic()
    interrupted = False
    failed: TryAgainError | None = None
    with through or SerialLine(where, settings[0]) as line, progress_bar() as bar:
        task = bar.add_task("", total=None)

        def watch(progress: Progress) -> None:
            found = len(work.report.devices)
            left = duration_words(progress.planned_s - progress.done_s)
            at = f"{progress.setting}" + (f" #{progress.unit}" if progress.unit is not None else "")
            told = _("{at}, {found} found, {left} left at most").format(at=at, found=found, left=left)
            bar.update(task, completed=progress.done_s, total=progress.planned_s, description=told)

        work = Scan(line, settings, chosen, timing=timing, listen_s=listen_s, force=force, watch=watch)
        if not as_json:
            _announce(work.longest_s)
        try:
            work.run()
        except KeyboardInterrupt:
            interrupted = True
        except TryAgainError as error:  # the adapter was pulled, the node has gone
            failed = error
    report = work.report
    if as_json:
        click.echo(json.dumps(_described(report, where, time.monotonic() - start), ensure_ascii=False))
    else:
        _say(scan_lines(report, _asked(where, through)), interrupted, failed)
    if failed is not None:
        raise failed
    return _code(interrupted, bool(report.devices))


def _scan_tcp(where: str, through: NodeLine | None, units: str | None, timeout_ms: int, as_json: bool) -> int:
    chosen = list(TCP_UNITS) if units is None else parse_units(units, most=255)
    report = TcpReport()
    interrupted = False
    failed: TryAgainError | None = None
    with through or TcpLine(*parse_host(where)) as line, progress_bar() as bar:
        task = bar.add_task("", total=len(chosen))

        def watch(done: int, unit: int) -> None:
            told = _("unit {unit}, {found} found").format(unit=unit, found=len(report.devices))
            bar.update(task, completed=done, description=told)

        if not as_json:
            _announce(len(chosen) * timeout_ms / 1000)
        try:
            scan_tcp(line, chosen, report, timeout_s=timeout_ms / 1000, watch=watch)
        except KeyboardInterrupt:
            interrupted = True
        except TryAgainError as error:
            failed = error
    if as_json:
        described = {
            "host": where,
            "complete": report.complete,
            "any_unit": report.any_unit,
            "devices": [_device(one) for one in report.devices],
            "requests": report.requests,
        }
        click.echo(json.dumps(described, ensure_ascii=False))
    else:
        _say(tcp_lines(report, where, _asked(where, through)), interrupted, failed)
    if failed is not None:
        raise failed
    return _code(interrupted, bool(report.devices))


def _announce(longest_s: float) -> None:
    told = _("This takes {time} at most; what is usual is asked first. Ctrl-C shows what was found so far.")
    click.echo(told.format(time=duration_words(longest_s)), err=True)


def _asked(where: str, through: NodeLine | None) -> str:
    """How the next command names what was scanned."""
    return where if through is None else f"--node {through.node} --line {through.name}"


def _say(lines: list[str], interrupted: bool, failed: TryAgainError | None) -> None:
    if interrupted or (failed is not None and lines):
        click.echo(_("Interrupted. So far:") if lines else _("Interrupted. Nothing was found so far."))
    for line in lines:
        click.echo(line)


def _code(interrupted: bool, found: bool) -> ExitCode:
    if interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if found else ExitCode.FAILED


def _described(report: Report, port: str, seconds: float) -> dict[str, Any]:
    traffic = report.traffic
    return {
        "port": port,
        "complete": report.complete,
        "setting": None if report.setting is None else _setting(report.setting),
        "also": [_setting(one) for one in report.same],
        "devices": [_device(one) for one in report.devices],
        "disturbed": [
            {**_setting(one.setting), "unit": one.unit, "heard": one.heard.hex()} for one in report.disturbed
        ],
        "traffic": None
        if traffic is None
        else {
            "bytes": traffic.size,
            "baudrate": traffic.setting.baudrate if traffic.setting else None,
            "units": list(traffic.units),
        },
        "refused": report.refused,
        "echo": report.echo,
        "unsupported": [_setting(one) for one in report.unsupported],
        "requests": report.requests,
        "requests_to_first": report.first_request,
        "seconds": round(seconds, 2),
    }


def _setting(setting: Setting) -> dict[str, Any]:
    return {"baudrate": setting.baudrate, "parity": setting.parity_name, "stop_bits": setting.stop}


def _device(device: Device) -> dict[str, Any]:
    return {
        "unit": device.unit,
        "exception": device.code or None,
        "response_ms": round(1000 * device.seconds, 1),
        "identity": None if device.identity is None else str(device.identity),
        "damaged_answers": device.disturbed,
    }
