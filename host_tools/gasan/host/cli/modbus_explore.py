"""`gasan modbus explore`: what stands in a device, and where a displayed value stands."""

import errno
import json
import os
import time
from datetime import date
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.cli.options import command_options, json_option
from gasan.host.cli.progress import progress_bar
from gasan.host.cli.through import check_where, node_options
from gasan.host.errors import GasanError, InputError, TryAgainError
from gasan.host.i18n import _
from gasan.host.modbus.blocks import FUNCTIONS, Reading, read_again, read_range, request_limit
from gasan.host.modbus.draft import choose, draft
from gasan.host.modbus.explore_text import manual_number, meanings, number_text, register_lines, seen_lines
from gasan.host.modbus.identify import Identity
from gasan.host.modbus.node_line import NodeLine
from gasan.host.modbus.ports import Asker, SerialLine, TcpLine, is_serial, parse_host
from gasan.host.modbus.scan import identify
from gasan.host.modbus.seen import Candidate, Seen, Snapshot, parse_seen, rank
from gasan.host.modbus.settings import PARITIES, UNITS_MAX, Setting
from gasan.host.profiles import read_profile

__all__ = ["explore"]

_LAST = 65_535
_READS = 3
_CANDIDATES = 10  # of each value, in JSON


@click.command(
    help=_(
        "Read a device's registers and show what they may mean. Given values that the machine displays "
        "(--seen), names the addresses, types, orders and scales that fit, and writes a draft profile. "
        "It only reads."
    )
)
@click.argument("where", metavar="[PORT|HOST[:PORT]]", required=False)
@node_options
@click.option("--unit", type=click.IntRange(1, 255), required=True, help=_("Unit number of the device."))
@click.option("--table", type=click.Choice(list(FUNCTIONS)), help=_("Only these registers; otherwise both."))
@click.option("--from", "first", default="0", show_default=True, help=_("First address, as on the wire."))
@click.option("--to", "last", default="199", show_default=True, help=_("Last address."))
@click.option(
    "--seen",
    "texts",
    multiple=True,
    metavar="[NAME=]VALUE[UNIT][@REGISTER]",
    help=_("A value as displayed, best with its decimals: 23.4 or voltage=230.2V@30001. May be repeated."),
)
@click.option(
    "--moves/--stays", "moves", default=None, help=_("Whether the displayed values moved meanwhile.")
)
@click.option(
    "--reads", type=click.IntRange(1, 100), default=_READS, show_default=True, help=_("Readings with --seen.")
)
@click.option(
    "--every",
    type=click.FloatRange(0, 3600),
    default=1.0,
    show_default=True,
    help=_("Seconds between readings."),
)
@click.option(
    "--draft",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=_("Write a draft profile to this new file."),
)
@click.option("--baud", type=click.IntRange(300, 1_000_000), default=9600, show_default=True)
@click.option("--parity", type=click.Choice(list(PARITIES)), default="none", show_default=True)
@click.option("--stop-bits", type=click.IntRange(1, 2), default=1, show_default=True)
@click.option(
    "--timeout",
    "timeout_ms",
    type=click.IntRange(20, 10_000),
    default=500,
    show_default=True,
    help=_("Milliseconds until the device begins to answer."),
)
@json_option
@click.pass_context
@command_options
def explore(
    context: click.Context,
    where: str | None,
    node: str | None,
    bus: str | None,
    state: Path,
    unit: int,
    table: str | None,
    first: str,
    last: str,
    texts: tuple[str, ...],
    moves: bool | None,
    reads: int,
    every: float,
    file: Path | None,
    baud: int,
    parity: str,
    stop_bits: int,
    timeout_ms: int,
    as_json: bool,
) -> int:
    low, high = _address(first), _address(last)
    if high < low:
        raise InputError(_("--to is before --from; write the smaller address first"))
    seens = [parse_seen(text) for text in texts]
    _check_draft(file, seens)
    tables = [table] if table else list(FUNCTIONS)
    readings = [Reading(name) for name in tables]
    timeout_s = timeout_ms / 1000
    setting = Setting(baud, PARITIES[parity], stop_bits)
    interrupted = False
    failed: GasanError | None = None
    identity = None
    snapshots: list[Snapshot] = []
    check_where(where, node, timeout_ms)
    if unit > UNITS_MAX and where is not None and is_serial(where):
        raise InputError(
            _("unit = {unit} cannot be a device on an RTU line").format(unit=unit)
            + "; "
            + _("write a number from {low} to {high}").format(low=1, high=UNITS_MAX)
        )
    given = any(
        context.get_parameter_source(name) is not ParameterSource.DEFAULT
        for name in ("baud", "parity", "stop_bits")
    )
    with (
        _open(str(where), setting) if node is None else NodeLine(state, node, bus, setting if given else None)
    ) as line:
        try:
            _read_all(line, unit, readings, low, high, timeout_s)
            snapshots = [{reading.table: reading.registers for reading in readings}]
            if seens:
                snapshots += _repeat(line, unit, readings, timeout_s, reads - 1, every)
            identity = identify(line, unit, timeout_s) if file is not None else None
        except KeyboardInterrupt:
            interrupted = True
        except TryAgainError as error:  # the adapter was pulled, the node has gone
            if not any(reading.registers for reading in readings):
                raise
            failed, interrupted = error, True
        snapshots = snapshots or [{reading.table: reading.registers for reading in readings}]
    ranked = rank(snapshots, seens, moves)
    chosen = choose(seens, ranked)
    written = None
    if file is not None and not interrupted:
        limit = request_limit(readings)
        try:
            _write(file, seens, chosen, identity, limit)
            written = file
        except GasanError as error:
            failed = error
    if as_json:
        click.echo(json.dumps(_described(readings, seens, ranked, written, interrupted), ensure_ascii=False))
    else:
        _print(readings, seens, ranked, interrupted)
        if written is not None:
            _print_draft(written, seens, chosen)
    if failed is not None:
        raise failed
    return ExitCode.INTERRUPTED if interrupted else ExitCode.OK


def _address(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= _LAST:
        raise InputError(
            _('"{text}" is not an address; write 0 to 65535, or 0x0000 to 0xFFFF').format(text=text)
        )
    return value


def _check_draft(file: Path | None, seens: list[Seen]) -> None:
    """Before anything is read: what would be missing at the end."""
    if file is None:
        return
    if not seens:
        raise InputError(_("--draft needs values to look for; add --seen, as the machine displays them"))
    if file.exists():
        raise InputError(_("{file} is already there; name another file").format(file=file))
    if not os.access(file.parent, os.W_OK):
        raise _not_written(file, os.strerror(errno.EACCES if file.parent.exists() else errno.ENOENT))


def _open(where: str, setting: Setting) -> SerialLine | TcpLine:
    if not is_serial(where):
        return TcpLine(*parse_host(where))
    line = SerialLine(where, setting)
    if not line.configure(setting):
        line.close()
        raise InputError(
            _("{port} does not offer {setting}; write other settings, or use another adapter").format(
                port=where, setting=setting
            )
        )
    return line


def _read_all(line: Asker, unit: int, readings: list[Reading], low: int, high: int, timeout_s: float) -> None:
    count = high - low + 1
    with progress_bar() as bar:
        for reading in readings:
            task = bar.add_task(reading.table, total=count)
            read_range(
                line,
                unit,
                reading,
                low,
                high,
                timeout_s=timeout_s,
                watch=lambda done, task=task: bar.update(task, completed=done),  # type: ignore[misc]
            )


def _repeat(
    line: Asker, unit: int, readings: list[Reading], timeout_s: float, times: int, every: float
) -> list[Snapshot]:
    """The same registers again, to see what moves."""
    out: list[Snapshot] = []
    with progress_bar() as bar:
        for _time in bar.track(range(times), description=_("reading again")):
            time.sleep(every)
            out.append({one.table: read_again(line, unit, one, timeout_s) for one in readings})
    return out


def _write(
    file: Path,
    seens: list[Seen],
    chosen: list[Candidate | None],
    identity: Identity | None,
    limit: int,
) -> None:
    if not any(chosen):
        raise TryAgainError(
            _("nothing fits, so no profile was written; read the values off again, or read a larger range")
        )
    text = draft(seens, chosen, identity=identity, limit=limit, day=date.today().isoformat())
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise _not_written(file, error.strerror or str(error)) from None
    read_profile(file, str(file))  # what `gasan check` would say


def _not_written(file: Path, reason: str) -> TryAgainError:
    return TryAgainError(
        _("{file} cannot be written ({reason}); name another place").format(file=file, reason=reason)
    )


def _print(
    readings: list[Reading],
    seens: list[Seen],
    ranked: list[list[Candidate]],
    interrupted: bool,
) -> None:
    if interrupted:
        click.echo(_("Interrupted. So far:"))
    for reading in readings:
        for line in register_lines(reading):
            click.echo(line)
        click.echo()
    for seen, candidates in zip(seens, ranked, strict=True):
        for line in seen_lines(seen, candidates):
            click.echo(line)


def _print_draft(file: Path, seens: list[Seen], chosen: list[Candidate | None]) -> None:
    missing = [seen.text for seen, one in zip(seens, chosen, strict=True) if one is None]
    if missing:
        told = _("Not in the profile, since nothing fits that no other value has taken: {values}")
        click.echo(told.format(values=", ".join(missing)))
    click.echo(_("Wrote {file}. Next: edit it, then run gasan check {file}").format(file=file))


def _described(
    readings: list[Reading],
    seens: list[Seen],
    ranked: list[list[Candidate]],
    written: Path | None,
    interrupted: bool,
) -> dict[str, Any]:
    return {
        "complete": not interrupted,
        "tables": [
            {
                "table": reading.table,
                "there": not reading.no_table,
                "requests": reading.requests,
                "longest": reading.longest,
                "refused": sorted(reading.refused),
                "silent": sorted(reading.silent),
                "registers": [
                    {
                        "address": address,
                        "manual": manual_number(reading.table, address),
                        "u16": word,
                        "also": dict(meanings(reading.registers, address)),
                    }
                    for address, word in sorted(reading.registers.items())
                ],
            }
            for reading in readings
        ],
        "seen": [
            {"text": seen.text, "candidates": [_candidate(one) for one in candidates[:_CANDIDATES]]}
            for seen, candidates in zip(seens, ranked, strict=True)
        ],
        "draft": None if written is None else str(written),
    }


def _candidate(one: Candidate) -> dict[str, Any]:
    return {
        "table": one.table,
        "address": one.address,
        "manual": manual_number(one.table, one.address),
        "type": one.form.type,
        "order": one.form.order,
        "scale": number_text(one.scale),
        "value": float(one.value),
        "fit": one.fit.value,
        "bits": round(one.score, 1),
    }
