"""The built-in site file: what `gasan init` writes and what the demo runs, from one commented template."""

from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

from gasan.host.i18n import language

__all__ = ["Places", "demo_site", "starter_site"]


@dataclass(frozen=True)
class Places:
    """Where the equipment of the site is: a serial port, a TCP address, and the virtual radio."""

    rtu_port: str
    tcp_host: str
    tcp_port: int
    air: str
    ble_address: str


_EXAMPLES = Places(
    rtu_port="/dev/ttyUSB0",
    tcp_host="192.168.0.20",
    tcp_port=502,
    air="127.0.0.1:7300",
    ble_address="A4:C1:38:01:02:03",
)


def starter_site(file: str) -> str:
    """The commented starter, in the user's language; `file` is the name that its first lines mention."""
    return _fill(_EXAMPLES, file=file, site="line-1", max_age="60s")


def demo_site(places: Places, file: str) -> str:
    """The demo's site: the same, with the simulated equipment and batches of at most 2 s."""
    return _fill(places, file=file, site="demo", max_age="2s")


def _fill(places: Places, **other: str) -> str:
    template = Path(__file__).parent / "templates" / f"site.{language()}.toml"
    return Template(template.read_text(encoding="utf-8")).substitute(asdict(places), **other)
