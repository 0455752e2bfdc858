"""The demo's node as a bench and a test want it: its equipment, its config, a board with a given heap."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gasan.boards.image import firmware_files
from gasan.boards.virtual import VirtualBoard
from gasan.hil.bare_gateway import BareGateway
from gasan.host.compile import compile_site
from gasan.host.site import load
from gasan.host.starter import Places, demo_site
from gasan.ota.slots import pack
from gasan.wire import cbor

__all__ = ["DemoNode", "demo_node"]

_NODE_ID = b"demonode"
_KEY = bytes(range(32))
_ASK_MODULES = """\
import sys
from gasan.node import app
_stop = app.Node.stop_sources
def stop_sources(self):
    print("modules", *sorted(name for name in sys.modules if name[:6] == "gasan."))
    _stop(self)
app.Node.stop_sources = stop_sources
"""


@dataclass(frozen=True)
class DemoNode:
    """config: what the demo's site compiles to."""

    board: VirtualBoard
    gateway: BareGateway
    config: bytes

    def modules(self) -> list[str]:
        """What the node has loaded, told by the order "flush", after which it samples no more.

        What is printed travels beside the packets and may be broken by one: then it is asked again.
        """
        for _ in range(5):
            self.gateway.command("flush")
            with contextlib.suppress(TimeoutError):
                self.gateway.wait(self._told, 3)
                return self._told()
        raise AssertionError("the node does not tell its modules")

    def _told(self) -> list[str]:
        lines = [line.split() for line in self.gateway.text if line.startswith("modules ")]
        return lines[-1][1:] if lines else []


@contextlib.contextmanager
def demo_node(folder: Path, *, bits: int, heap: int) -> Iterator[DemoNode]:
    """Start equipment and node in ``folder``; both end with the context. heap: bytes, as on 32 bits."""
    command = [sys.executable, "-m", "gasan.hil.demo_equipment", "--dir", str(folder / "equipment")]
    with contextlib.ExitStack() as stack:
        equipment = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
        stack.callback(equipment.terminate)
        assert equipment.stdout
        ready = json.loads(equipment.stdout.readline())
        places = Places(
            rtu_port=ready["rtu_port"],
            tcp_host="127.0.0.1",
            tcp_port=ready["tcp_port"],
            air=ready["air"],
            ble_address=ready["ble_address"],
        )
        site = folder / "site.toml"
        site.write_text(demo_site(places, str(site)), encoding="utf-8")
        (node,) = compile_site(load(site))
        board = VirtualBoard(folder / "board", bits=bits, heap=heap, uarts=node.uarts, air=node.air)
        files = firmware_files()
        # In front of the node's start, so that it weighs little: what "flush" prints.
        files["/main.py"] = files["/main.py"].replace(
            b"    app.run(word)", _indented(_ASK_MODULES) + b"    app.run(word)"
        )
        files["/secret/key"] = cbor.dumps([_NODE_ID, 1, _KEY])
        files["/cfg/a"] = pack(node.config)
        board.install(files)
        stack.enter_context(board)
        gateway = stack.enter_context(BareGateway(board.console_path, _NODE_ID, 1, _KEY))
        yield DemoNode(board, gateway, node.config)


def _indented(code: str) -> bytes:
    return "".join(f"    {line}\n" for line in code.splitlines()).encode()
