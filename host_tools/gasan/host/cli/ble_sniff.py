"""`gasan ble sniff`: what is in the air, and how it is written into a site file."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import click
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from gasan.host.ble.adapter import AIR, air_backends
from gasan.host.ble.hall import Hall, Heard
from gasan.host.ble.known import Known, Reading, match_of, strangers
from gasan.host.ble.node_air import listen
from gasan.host.ble.recording import Recording
from gasan.host.cli.options import command_options, json_option, state_option
from gasan.host.errors import InputError, TryAgainError
from gasan.host.i18n import _

__all__ = ["sniff"]


@click.command(
    help=_(
        "Listen for sensors that advertise, with this machine's own Bluetooth adapter or through a node: who "
        "they are, what they say, and by which profile. Nothing is connected to and nothing is changed."
    )
)
@click.option(
    "--seconds", default=10.0, show_default=True, type=click.FloatRange(1, 3600), help=_("How long.")
)
@click.option("--all", "everybody", is_flag=True, help=_("Show those too that no profile reads."))
@click.option("--draft", is_flag=True, help=_("Write what was recognised as entries of a site file."))
@click.option("--air", metavar="HOST:PORT", envvar=AIR, help=_("Listen to a virtual air."))
@click.option("--node", help=_("Listen through this node of the running gateway."))
@click.option(
    "--record",
    "record",
    type=click.Path(path_type=Path, dir_okay=False),
    help=_("Write all that is heard into a new file, which a virtual air can play."),
)
@state_option
@json_option
@command_options
def sniff(
    seconds: float,
    everybody: bool,
    draft: bool,
    air: str | None,
    node: str | None,
    record: Path | None,
    state: Path,
    as_json: bool,
) -> None:
    if node is not None and record is not None:
        raise InputError(_("a node tells only the last of each; record with this machine's own adapter"))
    hall = asyncio.run(_listen(seconds, air, record)) if node is None else _through(state, node, seconds)
    shown = [it for it in hall.strongest_first() if it.known or everybody]
    if as_json:
        click.echo(json.dumps([_json(it) for it in shown], ensure_ascii=False))
        return
    if draft:
        click.echo(_draft([it for it in shown if it.known]), nl=False)
        return
    for it in shown:
        for line in _lines(it):
            click.echo(line)
    others = len(hall.heard) - len(shown)
    if others and not everybody:
        click.echo(_("{count} more that no profile reads; --all shows them").format(count=others))
    if hall.unnoted:
        click.echo(_("{count} adverts found no place in the list").format(count=hall.unnoted))
    if not hall.heard:
        click.echo(_("Nothing was heard in {seconds:g} s.").format(seconds=seconds))


async def _listen(seconds: float, air: str | None, record: Path | None) -> Hall:
    """What is heard meanwhile. Raises TryAgainError without an adapter, InputError without a file."""
    from bleak import BleakScanner  # slow to load
    from bleak.exc import BleakError

    hall = Hall()
    recording = _recording(record) if record is not None else None

    def note(device: BLEDevice, advertised: AdvertisementData) -> None:
        hall.note(device, advertised)
        if recording is not None:
            recording.note(device, advertised)

    scanner_type, _client = air_backends(air)
    try:
        async with BleakScanner(note, backend=scanner_type):
            await asyncio.sleep(seconds)
    except (BleakError, OSError) as error:
        what = _("no Bluetooth adapter can be used: {error}").format(error=error)
        mend = _("switch one on (bluetoothctl power on), or name a virtual air with --air")
        raise TryAgainError(f"{what}; {mend}") from error
    finally:
        if recording is not None:
            recording.close()
    return hall


def _recording(file: Path) -> Recording:
    try:
        return Recording(file)
    except FileExistsError as error:
        raise InputError(_("{file} is there already; name another file").format(file=file)) from error
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error


def _through(state: Path, node: str, seconds: float) -> Hall:
    """What a node hears meanwhile."""
    hall = Hall()
    unnoted = 0
    for records, unnoted in listen(state, node, seconds):  # noqa: B007 - the last count is the whole
        for record in records:
            hall.note_record(record)
    hall.unnoted += unnoted
    return hall


def _lines(it: Heard) -> list[str]:
    head = _("{address}  {rssi} dBm  {count} adverts  {name}").format(
        address=it.address, rssi=it.rssi, count=it.adverts, name=it.name
    )
    lines = [head.rstrip()]
    for known in it.known:
        if known.encrypted:
            lines.append(
                _("  {profile}: encrypted; its key goes in by: gasan ble key").format(profile=known.profile)
            )
        else:
            said = ", ".join(_value(reading) for reading in known.readings)
            lines.append(f"  {known.profile}: {said}")
    if not it.known:
        lines += [f"  {named}" for named in strangers(it.manufacturer, it.service_data)]
    return lines


def _value(reading: Reading) -> str:
    value = "-" if reading.value is None else reading.value
    return (
        f"{reading.channel} {value:g} {reading.unit}".rstrip()
        if isinstance(value, float)
        else (f"{reading.channel} {value}")
    )


def _json(it: Heard) -> dict[str, Any]:
    return {
        "address": it.address,
        "name": it.name,
        "rssi": it.rssi,
        "adverts": it.adverts,
        "manufacturer": {f"0x{company:04X}": data.hex() for company, data in it.manufacturer.items()},
        "service_data": {uuid: data.hex() for uuid, data in it.service_data.items()},
        "services": sorted(it.services),
        "profiles": [
            {
                "profile": known.profile,
                "encrypted": known.encrypted,
                "readings": {reading.channel: reading.value for reading in known.readings},
            }
            for known in it.known
        ],
    }


def _draft(found: list[Heard]) -> str:
    """Entries for a bus of type "ble"; a name is made of the sensor's own, or of its address."""
    text = ""
    names: set[str] = set()
    for it in found:
        best = it.known[0]
        plain = re.sub(r"[^a-z0-9]+", "-", it.name.lower()).strip("-")
        name = plain if plain and plain not in names else f"s-{it.address.lower().replace(':', '')}"
        names.add(name)
        who = f'address = "{it.address}"'
        if it.private and not best.encrypted and (match := match_of(best.profile, it.name)):
            who = f"match = {match}  # its address changes; now it is {it.address}"
        text += (
            f'[[node.bus.device]]\nname = "{name}"\n{who}\nprofile = "{best.profile}"{_others(it.known)}\n'
        )
        if best.encrypted:
            text += "encrypted = true\n"
        elif best.readings:
            channels = ", ".join(f'"{reading.channel}"' for reading in best.readings[:16])
            text += f"channels = [{channels}]\n"
        text += "\n"
    return text


def _others(known: tuple[Known, ...]) -> str:
    return f"  # or {', '.join(it.profile for it in known[1:])}" if len(known) > 1 else ""
