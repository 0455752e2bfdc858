"""A line behind a node, asked through the running gateway: reads only, between the node's own polls."""

import base64
from pathlib import Path
from typing import Any, Final

from gasan.host.control_client import ask_once
from gasan.host.errors import InputError, TryAgainError
from gasan.host.i18n import _
from gasan.host.modbus.frames import Kind, Reply, judge_pdu
from gasan.host.modbus.ports import check_read
from gasan.host.modbus.settings import Setting
from gasan.host.problems import instead

__all__ = ["LONGEST_MS", "NodeLine"]

_PARITIES: Final = "NEO"
_ANSWER, _EXCEPTION, _SILENCE, _GARBAGE = 0, 16, 17, 18
LONGEST_MS: Final = 2000


class NodeLine:
    """A line of a node, by the name of its bus; None: its only one. setting: None for the line's own.

    Raises InputError for what is not there and TryAgainError when the gateway or the node does not answer.
    """

    def __init__(self, state: Path, node: str, line: str | None, setting: Setting | None = None) -> None:
        self.node = node
        self._state = state
        self._setting = setting
        lines = ask_once(state, {"do": "lines", "node": node})["lines"]
        names = [one["name"] for one in lines]
        if not names:
            raise InputError(_("{node} has no Modbus line in its site file").format(node=node))
        if line is None and len(names) > 1:
            raise InputError(
                _("{node} has several lines; name one with --line: {names}").format(
                    node=node, names=", ".join(names)
                )
            )
        if line is not None and line not in names:
            raise InputError(
                _('{node} has no line "{line}"; {instead}').format(
                    node=node, line=line, instead=instead(line, names)
                )
            )
        found = lines[0 if line is None else names.index(line)]
        self.name: str = found["name"]
        self.tcp: bool = found["tcp"]

    def configure(self, setting: Setting) -> bool:
        """From now on each question is asked at this setting; between them the line has its own."""
        self._setting = setting
        return not self.tcp

    def listen(self, seconds: float) -> bytes:
        """A node does not hand over what it hears; strays are in `gasan modbus health`."""
        return b""

    def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
        """One question through the node."""
        check_read(unit, pdu)
        setting: list[int] = []
        if self._setting is not None and not self.tcp:
            one = self._setting
            setting = [one.baudrate, _PARITIES.index(one.parity), one.stop]
        answer: Any = ask_once(
            self._state,
            {
                "do": "ask",
                "node": self.node,
                "line": self.name,
                "unit": unit,
                "request": pdu.hex(),
                "timeout_ms": min(LONGEST_MS, max(1, round(1000 * timeout_s))),
                "setting": setting,
            },
        )
        status, text = answer["status"], str(answer["text"])
        if status == _SILENCE:
            return Reply(Kind.SILENCE)
        if status == _GARBAGE:
            return Reply(Kind.GARBAGE)
        if status not in (_ANSWER, _EXCEPTION):
            raise TryAgainError(_("{node} does not ask this: {text}").format(node=self.node, text=text))
        took, _space, rest = text.partition(" ")
        seconds = int(took) / 1000
        if status == _EXCEPTION:
            return Reply(Kind.EXCEPTION, bytes((pdu[0] | 0x80, int(rest))), int(rest), seconds)
        came = base64.b64decode(rest)
        kind, code = judge_pdu(pdu, came)
        return Reply(kind, came, code, seconds, heard=came)

    def close(self) -> None:
        """Nothing to leave: every question stood alone."""

    def __enter__(self) -> "NodeLine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
