"""Asks a running gateway something, over the socket in its state folder: a JSON object a line, both ways."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gasan.host.errors import InputError, TryAgainError
from gasan.host.gateway.control import control_path, socket_address
from gasan.host.i18n import _

__all__ = ["ask", "ask_once"]

_CONNECT_S = 5.0
_LAST = {"done", "rolled_back"}  # what the last answer has, unless it is an error


def ask(state: Path, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The gateway's answers as they come. Closing the iterator hangs up.

    Raises TryAgainError when no gateway runs on `state`, when it ends in between, or when it refuses;
    InputError when it refuses for what was asked (no such node).
    """
    with _connected(control_path(state)) as connection, connection.makefile("rwb") as lines:
        lines.write(json.dumps(request).encode() + b"\n")
        lines.flush()
        connection.settimeout(None)
        for line in lines:
            answer = json.loads(line)
            if "error" in answer:
                raise (InputError if answer.get("input") else TryAgainError)(answer["error"])
            yield answer
            if _LAST & answer.keys():
                return
    raise TryAgainError(_("the gateway ended before it had answered; start it again with gasan up"))


def ask_once(state: Path, request: dict[str, Any]) -> Any:
    """What the gateway's last answer says as done. Raises like `ask`."""
    for answer in ask(state, request):
        if "done" in answer:
            return answer["done"]
    raise AssertionError("ask ends with an answer or an error")


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_CONNECT_S)
    try:
        with socket_address(path) as address:
            connection.connect(address)
    except OSError:
        connection.close()
        raise TryAgainError(
            _("no gateway runs on {folder}; start it with gasan up, or name its folder with --state").format(
                folder=path.parent
            )
        ) from None
    return connection
