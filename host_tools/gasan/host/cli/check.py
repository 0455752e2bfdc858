"""`gasan check`: says everything that is wrong with a site file or a profile."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
from gasan.host import profiles
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.cli.options import command_options, json_option
from gasan.host.compile import CompiledNode, compile_site
from gasan.host.endurance import Endurance, endurance
from gasan.host.i18n import _, ngettext
from gasan.host.line_budget import Budget, budget
from gasan.host.problems import FileError, Problem
from gasan.host.profiles import Profile
from gasan.host.quantities import duration_text
from gasan.host.site import RtuBus, Site, load
from gasan.host.toml_file import read
from gasan.host.wording import bytes_text, count_text

__all__ = ["check"]


@click.command(
    help=_(
        "Check a site file or a device profile. Tells every mistake, with its line and what to write instead."
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@command_options
def check(file: Path, as_json: bool) -> int:
    try:
        if "profile" in read(file).data:
            return _checked_profile(profiles.read_profile(file, str(file)), as_json)
        site = load(file)
        return _checked_site(site, compile_site(site), as_json)
    except FileError as error:
        if as_json:
            _print_json(False, error.problems)
        else:
            for problem in error.problems:
                click.echo(str(problem))
            count = sum(problem.severity == "error" for problem in error.problems)
            click.echo(
                ngettext("{n} mistake in {file}", "{n} mistakes in {file}", count).format(n=count, file=file)
            )
        return ExitCode.WRONG_INPUT


def _checked_profile(profile: Profile, as_json: bool) -> int:
    if as_json:
        _print_json(True, [], profile=profile.name, channels=len(profile.channels))
        return ExitCode.OK
    click.echo(
        _("{file}: {maker} {model}, {n} channels, no mistakes").format(
            file=profile.name, maker=profile.maker, model=profile.model, n=len(profile.channels)
        )
    )
    return ExitCode.OK


def _checked_site(site: Site, nodes: list[CompiledNode], as_json: bool) -> int:
    lines = [(node, bus) for node in site.nodes for bus in node.buses if isinstance(bus, RtuBus)]
    if as_json:
        described = [
            {
                "name": node.name,
                "board": node.board,
                "channels": len(node.channels),
                "config_bytes": len(node.config),
                "revision": node.revision.hex(),
                "flash": _flash_json(endurance(of)),
            }
            for node, of in zip(nodes, site.nodes, strict=True)
        ]
        occupied = [{"node": node.name, **_line_json(budget(bus))} for node, bus in lines]
        _print_json(True, site.warnings, site=site.name, nodes=described, lines=occupied)
        return ExitCode.OK
    for problem in site.warnings:
        click.echo(str(problem))
    for compiled in nodes:
        click.echo(
            _("{node} ({board}): {n} channels, config {size} bytes, revision {revision}").format(
                node=compiled.name,
                board=compiled.board,
                n=len(compiled.channels),
                size=len(compiled.config),
                revision=compiled.revision.hex(),
            )
        )
    for of in site.nodes:
        click.echo(_flash_text(of.name, endurance(of)))
    for node, bus in lines:
        for line in _line_text(node.name, budget(bus)):
            click.echo(line)
    untried = sorted(_profiles_not_tried(site))
    if untried:
        click.echo(_("Not yet tried on hardware: {profiles}").format(profiles=", ".join(untried)))
    click.echo(_("{file}: no mistakes").format(file=site.file))
    return ExitCode.OK


def _flash_json(flash: Endurance) -> dict[str, object]:
    return {
        "frames_a_day": round(flash.frames),
        "bytes_a_day": round(flash.size),
        "outage_hours": round(flash.outage_hours, 1),
        "erases_a_day": round(flash.erases),
        "years": None if flash.years is None else round(flash.years, 1),
    }


def _flash_text(node: str, flash: Endurance) -> str:
    """What a node writes in a day, and how long its spool and its flash last."""
    wear = _("the flash is not written")
    if flash.years is not None:
        wear = _("the flash lasts {years} years").format(years=f"{min(flash.years, 99):.0f}")
    kept = _("{hours} h").format(hours=f"{flash.outage_hours:.0f}")
    if flash.outage_hours < 2:
        kept = _("{minutes} min").format(minutes=f"{60 * flash.outage_hours:.0f}")
    return _("{node}: {n} frames and {size} a day; {time} without a gateway are kept; {wear}").format(
        node=node,
        n=count_text(round(flash.frames)),
        size=bytes_text(round(flash.size)),
        time=kept,
        wear=wear,
    )


def _line_json(line: Budget) -> dict[str, object]:
    bus = line.bus
    dead = line.one_dead
    return {
        "bus": bus.name,
        "baudrate": bus.baudrate,
        "parity": bus.parity,
        "stop_bits": bus.stop_bits,
        "occupation": round(line.share, 3),
        "devices": [
            {
                "name": load.device.name,
                "occupation": round(load.share, 3),
                "requests": [
                    {
                        "function": request.function,
                        "first": request.first,
                        "count": request.count,
                        "period_ms": request.period_ms,
                        "line_ms": round(cost_ms, 2),
                    }
                    for request, cost_ms in zip(load.requests, load.cost_ms, strict=True)
                ],
            }
            for load in line.loads
        ],
        "one_dead": dead and {"device": dead[1].device.name, "occupation": round(dead[0], 3)},
    }


def _line_text(node: str, line: Budget) -> Iterator[str]:
    """A line's occupation, what each device has of it, and the worst case with a dead one."""
    bus = line.bus
    yield _("{node}/{bus}: {percent} % of the line's time at {baudrate} {form}").format(
        node=node,
        bus=bus.name,
        percent=_percent(line.share),
        baudrate=bus.baudrate,
        form=f"8{bus.parity[0].upper()}{bus.stop_bits}",
    )
    for each in line.loads:
        n = len(each.requests)
        said = ngettext("  {device} {percent} %, {n} request", "  {device} {percent} %, {n} requests", n)
        yield said.format(device=each.device.name, percent=_percent(each.share), n=n)
    if line.one_dead is not None:
        share, dead = line.one_dead
        if share <= line.share:
            yield _("  with one dead device not more: what is asked in vain takes little of the line")
            return
        yield _("  with one dead device at worst {percent} % ({device}: {wait} for each try)").format(
            percent=_percent(share), device=dead.device.name, wait=duration_text(dead.device.timeout_ms)
        )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.1f}"


def _profiles_not_tried(site: Site) -> set[str]:
    used = (device.profile for node in site.nodes for bus in node.buses for device in bus.devices)
    return {profile.name for profile in used if profile.verified == "simulated"}


def _print_json(ok: bool, problems: list[Problem] | tuple[Problem, ...], **more: object) -> None:
    told = [problem.as_dict() for problem in problems]
    click.echo(json.dumps({"ok": ok, "problems": told, **more}, ensure_ascii=False))
