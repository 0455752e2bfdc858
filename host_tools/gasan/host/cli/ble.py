"""`gasan ble`: sensors that advertise."""

import re
import sys
from pathlib import Path

import click
from gasan.host.cli.ble_sniff import sniff
from gasan.host.cli.options import command_options, state_option
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.sensor_keys import SENSOR_KEY_SIZE, SensorKeys
from gasan.host.site import BleBus, load

__all__ = ["ble"]


@click.group(help=_("Work with Bluetooth LE sensors."))
@command_options
def ble() -> None:
    pass


@ble.command(
    help=_(
        "Keep the key (bindkey) of a sensor that encrypts. It is asked for and not shown, or read from a "
        "pipe. A running gateway brings it to the node."
    )
)
@click.argument("node")
@click.argument("device")
@click.option(
    "--site", "file", type=click.Path(path_type=Path), required=True, help=_("Site file; see gasan init.")
)
@click.option("--forget", is_flag=True, help=_("Forget the key."))
@state_option
@command_options
def key(node: str, device: str, file: Path, forget: bool, state: Path) -> None:
    address = _address(file, node, device)
    keys = SensorKeys(state / "keys", node)
    if forget:
        keys.change(address, None)
        click.echo(_("{node}: the key of {device} is forgotten").format(node=node, device=device))
        return
    keys.change(address, _key())
    click.echo(_("{node}: the key of {device} is kept").format(node=node, device=device))


def _address(file: Path, node: str, device: str) -> bytes:
    """The address of a sensor that encrypts. Raises InputError when the site has none of that name."""
    nodes = {found.name: found for found in load(file).nodes}
    if node not in nodes:
        what = _("{file} has no node {name}").format(file=file, name=node)
        raise InputError(f"{what}; {instead(node, nodes)}")
    buses = [bus for bus in nodes[node].buses if isinstance(bus, BleBus)]
    sensors = {sensor.name: sensor for bus in buses for sensor in bus.devices if sensor.encrypted}
    if device not in sensors:
        what = _("{node} has no sensor {name} that encrypts").format(node=node, name=device)
        mend = _("write encrypted = true at the sensor in the site file")
        raise InputError(f"{what}; {instead(device, sensors) if sensors else mend}")
    return sensors[device].address


def _key() -> bytes:
    """The key that is typed or piped. Raises InputError for anything but 32 hexadecimal digits."""
    if sys.stdin.isatty():
        text = str(click.prompt(_("Key, 32 hexadecimal digits"), hide_input=True))
    else:
        text = sys.stdin.readline()
    try:
        secret = bytes.fromhex(re.sub(r"[\s:-]", "", text))
    except ValueError:
        secret = b""
    if len(secret) != SENSOR_KEY_SIZE:
        raise InputError(
            _("this is not a key; give 32 hexadecimal digits, as the sensor's app or flasher shows them")
        )
    return secret


ble.add_command(sniff)
