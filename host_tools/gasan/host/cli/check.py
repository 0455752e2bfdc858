"""`gasan check`: says everything that is wrong with a site file or a profile."""

import json
from pathlib import Path

import click
from gasan.host import profiles
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.cli.options import command_options, json_option
from gasan.host.compile import CompiledNode, compile_site
from gasan.host.i18n import _, ngettext
from gasan.host.line_budget import occupation
from gasan.host.problems import FileError, Problem
from gasan.host.profiles import Profile
from gasan.host.site import RtuBus, Site, load
from gasan.host.toml_file import read

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
            }
            for node in nodes
        ]
        occupied = [
            {
                "node": node.name,
                "bus": bus.name,
                "baudrate": bus.baudrate,
                "occupation": round(occupation(bus), 3),
            }
            for node, bus in lines
        ]
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
    for node, bus in lines:
        click.echo(
            _("{node}/{bus}: the line is busy for about {percent} % of its time at {baudrate} baud").format(
                node=node.name, bus=bus.name, percent=round(100 * occupation(bus)), baudrate=bus.baudrate
            )
        )
    untried = sorted(_profiles_not_tried(site))
    if untried:
        click.echo(_("Not yet tried on hardware: {profiles}").format(profiles=", ".join(untried)))
    click.echo(_("{file}: no mistakes").format(file=site.file))
    return ExitCode.OK


def _profiles_not_tried(site: Site) -> set[str]:
    used = (device.profile for node in site.nodes for bus in node.buses for device in bus.devices)
    return {profile.name for profile in used if profile.verified == "simulated"}


def _print_json(ok: bool, problems: list[Problem] | tuple[Problem, ...], **more: object) -> None:
    told = [problem.as_dict() for problem in problems]
    click.echo(json.dumps({"ok": ok, "problems": told, **more}, ensure_ascii=False))
