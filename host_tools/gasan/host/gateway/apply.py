"""Brings a config to a node: send, activate, wait for the restart, and for the first birth of the new
revision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gasan.host.gateway.node_link import CONFIG_KIND, NodeLink
from gasan.host.i18n import _
from gasan.host.link import NO_ANSWER
from gasan.host.store.ingest import Outcome, Receipt
from gasan.wire.frame import BIRTH

__all__ = ["ApplyResult", "ApplyState", "Progress", "apply_config"]

_CONNECT_S: Final = 30.0
_RESTART_S: Final = 180.0
"""A node on trial goes back after 120 s without an acknowledgement; then it takes a moment to start."""

_TRIAL: Final = 1
_RESTART_ANSWERS: Final = (0, NO_ANSWER, -2)
"""Done; or the node was gone before it could say so."""


class ApplyState(Enum):
    SENDING = "sending"
    RESTARTING = "restarting"
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes of the config that the node holds, while it is sent."""

    state: ApplyState
    sent: int
    total: int


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """How it ended: DONE, ROLLED_BACK or FAILED, and a sentence that says why unless it is done."""

    state: ApplyState
    reason: str = ""


async def apply_config(
    link: NodeLink, config: bytes, revision: bytes, report: Callable[[Progress], None]
) -> ApplyResult:
    """Has the node run `config`, whose hash is `revision`; returns when it does, or when it is known that
    it does not.
    """
    born: set[bytes] = set()

    def note(receipt: Receipt) -> None:
        if receipt.outcome is Outcome.STORED and receipt.frame is not None and receipt.frame.kind == BIRTH:
            born.add(bytes(receipt.frame.boot))

    def settled() -> bool:
        running = link.running
        return (
            running is not None
            and running.boot != before
            and (running.revision != revision or running.boot in born)
        )

    link.listeners.append(note)
    try:
        if not await link.wait(lambda: link.up and link.running is not None, _CONNECT_S):
            return _failed(
                _("{node} is not connected: {detail}").format(node=link.name, detail=link.state.detail)
            )
        assert link.running is not None
        before = link.running.boot
        if link.running.revision == revision:
            return ApplyResult(ApplyState.DONE)
        refusal = await _send(link, config, report)
        if refusal:
            return _failed(refusal)
        result = await link.command("activate", revision)
        if result.status not in _RESTART_ANSWERS:
            return _failed(
                _("{node} does not activate the config: {text}").format(node=link.name, text=result.text)
            )
        report(Progress(ApplyState.RESTARTING, len(config), len(config)))
        if not await link.wait(settled, _RESTART_S):
            return _failed(_("{node} did not come back with the new config").format(node=link.name))
        if link.running.revision == revision:
            return ApplyResult(ApplyState.DONE)
        return ApplyResult(
            ApplyState.ROLLED_BACK,
            _("{node} did not come up with the new config, and went back to the old one").format(
                node=link.name
            ),
        )
    finally:
        link.listeners.remove(note)


async def _send(link: NodeLink, config: bytes, report: Callable[[Progress], None]) -> str:
    """Sends the config; returns why the node does not take it, or nothing."""

    def progress(sent: int, total: int) -> None:
        report(Progress(ApplyState.SENDING, sent, total))

    progress(0, len(config))
    done = await link.put(CONFIG_KIND, config, progress)
    if not done.ok and link.running is not None and link.running.state == _TRIAL:
        # A config on trial is confirmed by its first acknowledgement; until then no other one is taken.
        await link.wait(lambda: False, 5.0)
        done = await link.put(CONFIG_KIND, config, progress)
    if done.ok:
        progress(len(config), len(config))
        return ""
    return _("{node} does not take the config: {reason}").format(node=link.name, reason=done.reason)


def _failed(reason: str) -> ApplyResult:
    return ApplyResult(ApplyState.FAILED, reason)
