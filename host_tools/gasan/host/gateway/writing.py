"""Writes to machines: who may, within which limits, sent once, and recorded whatever comes of it."""

import asyncio
import logging
import time
from typing import Any, Final

from gasan.host.errors import InputError
from gasan.host.gateway.clock import mono_ms
from gasan.host.gateway.node_service import NodeService
from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.store.writer import StoreWriter
from gasan.host.wording import quality_text
from gasan.host.writes import Outcome, WriteRule, outcome_of, rules
from gasan.wire import quality

__all__ = ["WriteDesk"]

_CLOSE_S: Final = 10.0
_VALID_MS: Final = 25_000
"""A command that reaches the node's hands later is not done any more: nobody waits for it by then."""

log = logging.getLogger(__name__)


class WriteDesk:
    """The writes of a gateway, one at a time for each node."""

    def __init__(self, writer: StoreWriter) -> None:
        self._writer = writer
        self._locks: dict[str, asyncio.Lock] = {}
        self._last: dict[tuple[str, int], int] = {}
        self._open: set[asyncio.Task[dict[str, Any]]] = set()

    async def write(
        self, service: NodeService, device: str, channel: str, value: str, who: str, dry_run: bool
    ) -> dict[str, Any]:
        """Does a write, or says what it would do. Raises InputError for what the site file does not allow.

        What has begun is done and recorded, even if nobody waits for it any more.
        """
        task = asyncio.create_task(self._write(service, device, channel, value, who, dry_run))
        self._open.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Waits for what has begun; what takes too long is left without an outcome."""
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=_CLOSE_S)
            for task in late:
                task.cancel()

    def _ended(self, task: asyncio.Task[dict[str, Any]]) -> None:
        self._open.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            log.debug("a write ended with: %s", error)

    async def _write(
        self, service: NodeService, device: str, channel: str, value: str, who: str, dry_run: bool
    ) -> dict[str, Any]:
        async with self._locks.setdefault(service.node.name, asyncio.Lock()):
            try:
                rule, data = self._allowed(service, device, channel, value, who)
            except InputError as error:
                if not dry_run:
                    number = await self._ask(service, device, channel, who, value, None, None)
                    await self._end(number, Outcome.REFUSED, None, None, str(error))
                raise
            told = {
                "node": service.node.name,
                "device": device,
                "channel": channel,
                "value": rule.shown(data),
                "value_unit": rule.meaning.unit,
                "unit": rule.unit,
                "function": rule.function,
                "address": rule.address,
                "registers": data.hex(),
                "who": who,
            }
            if dry_run:
                return {**told, "outcome": "dry_run", "old": None, "new": None, "detail": ""}
            return {**told, **await self._send(service, rule, data, value, who)}

    def _allowed(
        self, service: NodeService, device: str, channel: str, value: str, who: str
    ) -> tuple[WriteRule, bytes]:
        known = rules(service.config)
        rule = known.get((device, channel))
        if rule is None:
            what = _("the site file does not allow to write {device} {channel} of {node}").format(
                device=device, channel=channel, node=service.node.name
            )
            names = [f"{one} {two}" for one, two in known]
            mend = instead(f"{device} {channel}", names) if names else _("see docs/writing.md")
            raise InputError(f"{what}; {mend}")
        if rule.who and who not in rule.who:
            raise InputError(
                _("{who} may not write {channel} of {device}; the site file names {names}").format(
                    who=who, channel=channel, device=device, names=", ".join(rule.who)
                )
            )
        data = rule.encode(value)
        last = self._last.get((service.node.name, rule.meaning.number))
        if last is not None and mono_ms() - last < rule.pause_ms:
            raise InputError(
                _("{channel} of {device} was written {ago} ms ago, and may be each {pause} ms; wait").format(
                    channel=channel, device=device, ago=mono_ms() - last, pause=rule.pause_ms
                )
            )
        return rule, data

    async def _send(
        self, service: NodeService, rule: WriteRule, data: bytes, value: str, who: str
    ) -> dict[str, Any]:
        link, meaning = service.link, rule.meaning
        running = link.running if link.up else None
        boot = running.boot if running is not None else None
        number = await self._ask(service, meaning.device, meaning.name, who, value, data, boot)
        if running is None:
            why = _("{node} is not connected").format(node=service.node.name)
            return await self._end(number, Outcome.NOT_SENT, None, None, why)
        if running.revision != service.revision:
            why = _("{node} does not run this config yet").format(node=service.node.name)
            return await self._end(number, Outcome.NOT_SENT, None, None, why)
        self._last[service.node.name, meaning.number] = mono_ms()
        offset = link.offset_ms(running.boot, 0)
        until = 0 if offset is None else mono_ms() - offset + _VALID_MS
        result = await link.command("write", meaning.number, data, max(0, until))
        outcome = outcome_of(result.status)
        old, new, detail = _parts(rule, result.text) if result.status >= 0 else (None, None, result.text)
        return await self._end(number, outcome, old, new, detail)

    async def _ask(
        self,
        service: NodeService,
        device: str,
        channel: str,
        who: str,
        value: str,
        data: bytes | None,
        boot: bytes | None,
    ) -> int:
        """On disk before anything is sent."""
        row = (
            _now(), service.node.name, device, channel, who, value,
            None if data is None else data.hex(), None if boot is None else boot.hex(),
        )  # fmt: skip
        return await self._writer.call(lambda ingest: ingest.write_asked(row))

    async def _end(
        self, number: int, outcome: Outcome, old: str | None, new: str | None, detail: str
    ) -> dict[str, Any]:
        row = (number, _now(), outcome.value, old, new, detail)
        await self._writer.call(lambda ingest: ingest.write_ended(row))
        return {"outcome": outcome.value, "old": old, "new": new, "detail": detail}


def _parts(rule: WriteRule, text: str) -> tuple[str | None, str | None, str]:
    """Old and new value and the reason, of a node's answer."""
    parts = text.split(" ")
    if len(parts) != 3 or not parts[2].isdigit():
        return None, None, text
    values = [None if part == "-" else rule.shown(bytes.fromhex(part)) for part in parts[:2]]
    code = int(parts[2])
    return values[0], values[1], "" if code == quality.GOOD else quality_text(quality.name(code))


def _now() -> int:
    return time.time_ns() // 1_000_000
