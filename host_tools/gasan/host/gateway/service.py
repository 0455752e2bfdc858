"""The gateway: every node of a site, one store, the control socket, and what the terminal shows."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cbor2
from gasan.host.compile import CompiledNode
from gasan.host.errors import InputError, TryAgainError
from gasan.host.gateway.apply import ApplyState, Progress
from gasan.host.gateway.clock import ClockReading, machine_boot, mono_ms, read_clock
from gasan.host.gateway.control import Answers, ControlServer, control_path
from gasan.host.gateway.live import LiveView, NodeState, Snapshot
from gasan.host.gateway.lock import state_lock
from gasan.host.gateway.node_service import NodeService
from gasan.host.gateway.tail import tail_rows
from gasan.host.gateway.writing import WriteDesk
from gasan.host.i18n import _
from gasan.host.keys import KeyStore
from gasan.host.link import CommandResult
from gasan.host.store.ingest import Ingest, Receipt
from gasan.host.store.retention import KEEP_ALL, Keep, Retention
from gasan.host.store.writer import StoreWriter

if TYPE_CHECKING:
    from gasan.host.ble.adapter import Adapter

__all__ = ["Gateway"]

_FINISH_S: Final = 5.0
"""How long the end may wait for what virtual boards still hold."""

_RESTART_S: Final = 5.0
_CLOCK_S: Final = 10.0
_CLOCK_STEP_MS: Final = 5
_QUEUE_MAX: Final = 1000
_RETIRE_S: Final = 10.0
_RTU, _TCP, _RTU_OVER_TCP = 0, 1, 3  # buses, as a compiled config has them

log = logging.getLogger(__name__)


class Gateway:
    """Runs a site. `run` once; `snapshot` at any time."""

    def __init__(
        self,
        nodes: Sequence[CompiledNode],
        *,
        state_dir: Path,
        db_path: Path,
        site: str = "",
        keep: Keep = KEEP_ALL,
    ) -> None:
        self._nodes = tuple(nodes)
        self._state_dir = state_dir
        self._db_path = db_path
        self._site = site
        self._keep_readings = keep
        self._live = LiveView()
        self._services: dict[str, NodeService] = {}
        self._writer: StoreWriter | None = None
        self._desk: WriteDesk | None = None
        self._clock_row = 0
        self._clock = read_clock()

    def snapshot(self) -> Snapshot:
        """What to show now."""
        services = (self._services.get(node.name) for node in self._nodes)
        nodes = tuple(
            NodeState(node.name, "starting", "") if service is None else service.state
            for node, service in zip(self._nodes, services, strict=True)
        )
        trouble = self._writer.trouble if self._writer is not None else None
        return self._live.snapshot(nodes, mono_ms(), trouble)

    async def run(self, stop: asyncio.Event) -> None:
        """Serves the site until `stop` is set, then ends in order.

        Raises GasanError when the state folder, the keys or the database cannot be used, or the database
        turns out to be damaged while it runs.
        """
        with state_lock(self._state_dir):
            keys = KeyStore(self._state_dir / "keys")
            writer = self._writer = StoreWriter(self._db_path, keys)
            await writer.start()
            self._desk = WriteDesk(writer)
            try:
                await self._set_clock(read_clock())
                adapter = functools.cache(_adapter)
                for node in self._nodes:
                    self._services[node.name] = NodeService(
                        node,
                        keys.obtain(node.name),
                        self._state_dir,
                        writer,
                        self._live,
                        lambda: self._clock_row,
                        adapter,
                    )
                control = ControlServer(control_path(self._state_dir), self._verbs())
                await control.start()
                try:
                    await self._serve(stop, writer)
                finally:
                    await control.close()
            finally:
                for service in self._services.values():
                    service.log.close()
                await writer.close()

    async def _serve(self, stop: asyncio.Event, writer: StoreWriter) -> None:
        running = [asyncio.create_task(self._keep(service)) for service in self._services.values()]
        clock = asyncio.create_task(self._watch_clock())
        retiring = asyncio.create_task(self._retire(writer))
        stopped = asyncio.create_task(stop.wait())
        failed = asyncio.create_task(writer.failure())
        try:
            await asyncio.wait(
                (*running, clock, retiring, stopped, failed), return_when=asyncio.FIRST_COMPLETED
            )
            if not failed.done():
                if self._desk is not None:
                    await self._desk.close()
                await asyncio.gather(*(service.finish(_FINISH_S) for service in self._services.values()))
        finally:
            tasks = (*running, clock, retiring, stopped, failed)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _keep(self, service: NodeService) -> None:
        """Runs a node; an error that nobody expected costs this node a moment, and the others nothing."""
        while True:
            try:
                await service.run()
            except Exception:
                task = asyncio.current_task()
                if task is not None and task.cancelling():  # a clean-up has failed, and it ends all the same
                    log.exception("node %s: unexpected error at its end", service.node.name)
                    return
                log.exception("node %s: unexpected error; it is started again", service.node.name)
                await asyncio.sleep(_RESTART_S)

    async def _retire(self, writer: StoreWriter) -> None:
        """Takes away what is too old or too much, a little at a time, so that frames are stored between."""
        retention = Retention(self._keep_readings)
        while True:
            # By a clock that nobody has set, everything might be too old.
            clock = read_clock()
            now_ms = clock.utc_ms if clock.synchronised else 0
            more = await writer.call(partial(_retire_some, retention, now_ms))
            if not more:
                if retention.frames:
                    log.info("%d frames with %d readings were retired", retention.frames, retention.readings)
                    retention.frames = retention.readings = 0
                await asyncio.sleep(_RETIRE_S)

    # -- time

    async def _watch_clock(self) -> None:
        """Follows the system's clock: when it is set, all that was dated by this start of the machine
        moves.
        """
        while True:
            await asyncio.sleep(_CLOCK_S)
            now = read_clock()
            moved = abs(now.offset_ms - self._clock.offset_ms) > _CLOCK_STEP_MS
            if moved or now.synchronised != self._clock.synchronised:
                if moved:
                    log.warning(
                        "the clock was set by %d ms; readings move along",
                        now.offset_ms - self._clock.offset_ms,
                    )
                await self._set_clock(now)

    async def _set_clock(self, now: ClockReading) -> None:
        assert self._writer is not None
        self._clock = now
        self._clock_row = await self._writer.call(
            lambda ingest: ingest.set_gateway_clock(machine_boot(), now.mono_ms, now.utc_ms, now.synchronised)
        )

    # -- the control socket

    def _verbs(self) -> dict[str, Callable[[dict[str, Any]], Answers]]:
        return {
            "nodes": self._do_nodes,
            "tail": self._do_tail,
            "logs": self._do_logs,
            "apply": self._do_apply,
            "command": self._do_command,
            "write": self._do_write,
            "lines": self._do_lines,
            "ask": self._do_ask,
            "maintenance": self._do_maintenance,
            "resume": self._do_resume,
        }

    def _service(self, request: dict[str, Any]) -> NodeService:
        service = self._services.get(str(request.get("node")))
        if service is None:
            known = ", ".join(self._services)
            raise InputError(
                _("no node {node} here; there are: {known}").format(node=request.get("node"), known=known)
            )
        return service

    async def _do_nodes(self, request: dict[str, Any]) -> Answers:
        nodes = []
        for service in self._services.values():
            running = service.link.running
            nodes.append(
                {
                    "name": service.node.name,
                    "state": service.state.state,
                    "detail": service.state.detail,
                    "board": service.node.board,
                    "link": service.node.link,
                    "uarts": {str(number): port for number, port in service.node.uarts.items()},
                    "air": service.node.air,
                    "revision": running.revision.hex() if running is not None else None,
                    "config": service.config.hex(),
                }
            )
        keep = [self._keep_readings.days, self._keep_readings.max_bytes]
        yield {"done": {"site": self._site, "keep": keep, "nodes": nodes}}

    async def _do_tail(self, request: dict[str, Any]) -> Answers:
        name = request.get("node")
        services = [self._service(request)] if name is not None else list(self._services.values())
        queue: asyncio.Queue[tuple[NodeService, Receipt]] = asyncio.Queue(_QUEUE_MAX)
        dropped = 0
        listeners: list[tuple[NodeService, Callable[[Receipt], None]]] = []

        def listen(service: NodeService) -> None:
            def note(receipt: Receipt) -> None:
                nonlocal dropped
                try:
                    queue.put_nowait((service, receipt))
                except asyncio.QueueFull:  # an asker who does not read must not hold the frames
                    dropped += receipt.frame.n_readings if receipt.frame is not None else 0

            service.link.listeners.append(note)
            listeners.append((service, note))

        for service in services:
            listen(service)
        try:
            while True:
                service, receipt = await queue.get()
                for row in tail_rows(
                    service.node.name, receipt, service.link.offset_ms, self._clock.offset_ms
                ):
                    yield {"reading": row}
                if dropped:
                    yield {"dropped": dropped}
                    dropped = 0
        finally:
            for service, note in listeners:
                service.link.listeners.remove(note)

    async def _do_logs(self, request: dict[str, Any]) -> Answers:
        service = self._service(request)
        queue: asyncio.Queue[str] = asyncio.Queue()

        def note(line: str) -> None:
            if queue.qsize() < _QUEUE_MAX:
                queue.put_nowait(line)

        stop_listening = service.log.listen(note)
        try:
            for line in list(service.log.lines):
                yield {"line": line}
            while request.get("follow"):
                yield {"line": await queue.get()}
        finally:
            stop_listening()
        yield {"done": {}}

    async def _do_apply(self, request: dict[str, Any]) -> Answers:
        service = self._service(request)
        queue: asyncio.Queue[Progress | None] = asyncio.Queue()
        try:
            config = bytes.fromhex(request["config"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(_("this is not a config for {node}").format(node=service.node.name)) from error
        applying = asyncio.create_task(service.apply(config, queue.put_nowait))
        applying.add_done_callback(lambda _task: queue.put_nowait(None))
        try:
            while (progress := await queue.get()) is not None:
                if progress.state is ApplyState.SENDING:
                    yield {"event": "sending", "sent": progress.sent, "total": progress.total}
                else:
                    yield {"event": progress.state.value}
            result = await applying
        finally:
            applying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((applying,))
        if result.state is ApplyState.DONE:
            yield {"done": {"revision": service.revision.hex()}}
        elif result.state is ApplyState.ROLLED_BACK:
            yield {"rolled_back": result.reason}
        else:
            yield {"error": result.reason}

    async def _do_command(self, request: dict[str, Any]) -> Answers:
        service = self._service(request)
        arguments = request.get("args", [])
        if not isinstance(arguments, list) or not isinstance(request.get("name"), str):
            raise InputError(_("a command has a name and a list of arguments"))
        try:
            result: CommandResult = await service.link.command(request["name"], *arguments)
        except ValueError as error:
            raise InputError(str(error)) from error
        yield {"done": {"status": result.status, "text": result.text}}

    async def _do_write(self, request: dict[str, Any]) -> Answers:
        service = self._service(request)
        device, channel, value = (str(request.get(key)) for key in ("device", "channel", "value"))
        dry_run = request.get("dry_run") is not False
        assert self._desk is not None
        yield {"done": await self._desk.write(service, device, channel, value, request["who"], dry_run)}

    async def _do_lines(self, request: dict[str, Any]) -> Answers:
        config = self._service(request).config
        lines = [
            {"name": name, "tcp": kind != _RTU}
            for kind, name, *_rest in cbor2.loads(config)[3]
            if kind in (_RTU, _TCP, _RTU_OVER_TCP)
        ]
        yield {"done": {"lines": lines}}

    async def _do_ask(self, request: dict[str, Any]) -> Answers:
        """One read for commissioning; the node itself refuses whatever is no read."""
        service = self._service(request)
        if not service.link.up:
            raise TryAgainError(_("{node} is not connected").format(node=service.node.name))
        try:
            question = bytes.fromhex(request["request"])
            setting = [int(value) for value in request["setting"]]
            unit, timeout_ms = int(request["unit"]), int(request["timeout_ms"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(_("this is not a question for {node}").format(node=service.node.name)) from error
        result = await service.link.command(
            "ask", str(request.get("line")), unit, question, timeout_ms, setting
        )
        yield {"done": {"status": result.status, "text": result.text}}

    async def _do_maintenance(self, request: dict[str, Any]) -> Answers:
        service = self._service(request)
        if service.port is None:
            what = _("{node} is linked by Bluetooth; connect its USB cable and use mpremote")
            raise InputError(what.format(node=service.node.name))
        told = await service.maintenance()
        yield {"done": {"port": service.port, "told": told}}

    async def _do_resume(self, request: dict[str, Any]) -> Answers:
        self._service(request).resume()
        yield {"done": {}}


def _adapter() -> "Adapter":
    """The Bluetooth adapter; bleak is loaded only for nodes that are linked by it."""
    from gasan.host.ble.adapter import Adapter
    from gasan.host.link.ble import SERVICE

    return Adapter(SERVICE)


def _retire_some(retention: Retention, now_ms: int, ingest: Ingest) -> bool:
    return retention.step(ingest.database, now_ms)
