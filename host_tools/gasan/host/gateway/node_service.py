"""One node of a site, whole: its virtual board if it has one, its link, and the config that it should run."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gasan.host.compile import CompiledNode
from gasan.host.errors import GasanError, InputError, TryAgainError
from gasan.host.gateway.apply import ApplyResult, ApplyState, Progress, apply_config
from gasan.host.gateway.boards import VirtualNode
from gasan.host.gateway.live import LiveView, NodeState
from gasan.host.gateway.logs import NodeLog
from gasan.host.gateway.node_link import SENSOR_KEYS_KIND, NodeLink
from gasan.host.i18n import _
from gasan.host.keys import NodeKey
from gasan.host.link.ports import MakePort
from gasan.host.link.serial import SerialPort
from gasan.host.sensor_keys import SensorKeys
from gasan.host.store import counters
from gasan.host.store.meaning import config_meanings
from gasan.host.store.writer import StoreWriter

if TYPE_CHECKING:
    from gasan.host.ble.adapter import Adapter

__all__ = ["NodeService"]

_RETRY_S: Final = 5.0
_APPLY_RETRY_S: Final = 30.0
_KEYS_S: Final = 5.0
"""Between two looks at the keys of sensors."""

_SERIAL: Final = "serial:"
_BLE: Final = "ble:"

log = logging.getLogger(__name__)


class NodeService:
    """Runs one node until `run` is cancelled."""

    def __init__(
        self,
        node: CompiledNode,
        key: NodeKey,
        state_dir: Path,
        writer: StoreWriter,
        live: LiveView,
        gateway_clock: Callable[[], int],
        adapter: "Callable[[], Adapter]",
    ) -> None:
        """Raises InputError when the node's link is of a kind that is not known here."""
        self.node = node
        self.config = node.config
        self.log = NodeLog(state_dir / "logs", node.name)
        self._writer = writer
        self._live = live
        self._sensor_keys = SensorKeys(state_dir / "keys", node.name)
        self._board = VirtualNode(node, key, state_dir / "nodes" / node.name) if node.link is None else None
        self.port, make_port = _port(node, self._board, adapter)
        """The serial port; None for a node that is linked otherwise."""
        self.link = NodeLink(node.name, key, make_port, writer, live, self.log, gateway_clock)
        self._starting = self._board is not None
        self._detail = ""
        self._open = asyncio.Event()
        self._open.set()
        self._link_task: asyncio.Task[None] | None = None
        self._applying = asyncio.Lock()
        self._given_up: set[bytes] = set()

    @property
    def revision(self) -> bytes:
        """Of the config that the node should run."""
        return hashlib.sha256(self.config).digest()[:8]

    @property
    def state(self) -> NodeState:
        if self._starting:
            return NodeState(self.node.name, "starting", self._detail)
        if not self._open.is_set():
            return NodeState(self.node.name, "maintenance", "")
        return self.link.state

    async def run(self) -> None:
        """Starts the board, keeps link and config, until it is cancelled; then the board stops."""
        try:
            await self._learn()
            await self._start_board()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_link(), name=f"link of {self.node.name}")
                tasks.create_task(self._keep_config(), name=f"config of {self.node.name}")
                tasks.create_task(self._keep_sensor_keys(), name=f"sensors' keys of {self.node.name}")
        finally:
            if self._board is not None:
                await asyncio.shield(asyncio.to_thread(self._board.stop))

    async def finish(self, timeout_s: float) -> None:
        """The orderly end. A virtual board hands over all that it has, since its power goes; others just go
        on.
        """
        if self._board is not None and self.link.up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._flush()
        self.link.farewell()

    async def apply(self, config: bytes, report: Callable[[Progress], None]) -> ApplyResult:
        """Makes `config` the one that the node should run, and brings it there; one that the node has rolled
        back is not the one any more. Raises InputError.
        """
        try:
            config_meanings(config)
        except ValueError as error:
            raise InputError(_("this is not a config for {node}").format(node=self.node.name)) from error
        async with self._applying:
            before = self.config
            self.config = config
            self._given_up.discard(self.revision)
            await self._learn()
            result = await self._apply(report)
            if result.state is ApplyState.ROLLED_BACK:
                self.config = before
                await self._learn()
            return result

    async def maintenance(self) -> bool:
        """Has the node restart without its program, and leaves its port to others. A node that does not
        answer stays as it is: just then its port is wanted. Returns whether the node was told.

        Raises TryAgainError when the node refuses.
        """
        if not self._open.is_set():
            return True
        told = self.link.up
        if told:
            result = await self.link.command("maintenance")
            if result.status > 0:
                raise TryAgainError(_("{node} refuses: {text}").format(node=self.node.name, text=result.text))
        self._open.clear()
        if self._link_task is not None:
            self._link_task.cancel()
        return told

    def resume(self) -> None:
        """Opens the port again."""
        self._open.set()

    async def _learn(self) -> None:
        revision, config = self.revision, self.config
        node_id = self.link.key.node_id
        await self._writer.call(lambda ingest: ingest.learn_config(node_id, revision, config))
        self._live.expect(self.node.name, config_meanings(config))

    async def _start_board(self) -> None:
        while self._board is not None:
            try:
                await asyncio.to_thread(self._board.start)
                break
            except TryAgainError as error:
                self._detail = str(error)
                log.error("node %s: the virtual board does not start: %s", self.node.name, error)
                await asyncio.sleep(_RETRY_S)
        self._starting = False

    async def _keep_link(self) -> None:
        while True:
            await self._open.wait()
            self._link_task = asyncio.create_task(self.link.run())
            try:
                await self._link_task
            except asyncio.CancelledError:
                if self._open.is_set():  # not for maintenance: all of it ends
                    raise
            finally:
                self._link_task.cancel()

    async def _keep_config(self) -> None:
        while True:
            await self.link.wait(self._differs, None)
            async with self._applying:
                if not self._differs():
                    continue
                log.info("node %s: sending config %s", self.node.name, self.revision.hex())
                result = await self._apply(lambda progress: None)
            if result.state is ApplyState.FAILED:
                await asyncio.sleep(_APPLY_RETRY_S)

    async def _keep_sensor_keys(self) -> None:
        """Sends the keys of sensors at the start of a session, and when `gasan ble key` has changed them."""
        sent: tuple[bytes, bytes] | None = None
        while True:
            await self.link.wait(lambda: self.link.up and self.link.running is not None, None)
            try:
                box = await asyncio.to_thread(self._sensor_keys.box, self.link.key)
            except GasanError as error:
                log.error("node %s: %s", self.node.name, error)
                box = None
            running = self.link.running
            if box is not None and running is not None and sent != (running.boot, box):
                async with self._applying:
                    done = await self.link.put(SENSOR_KEYS_KIND, box, lambda _held, _all: None)
                if done.ok:
                    sent = running.boot, box
                    log.info("node %s has the keys of its sensors", self.node.name)
                else:
                    log.error(
                        "node %s does not take the keys of its sensors: %s", self.node.name, done.reason
                    )
            await asyncio.sleep(_KEYS_S)

    def _differs(self) -> bool:
        running = self.link.running
        wanted = self.revision
        return (
            self.link.up
            and running is not None
            and running.revision != wanted
            and wanted not in self._given_up
        )

    async def _apply(self, report: Callable[[Progress], None]) -> ApplyResult:
        result = await apply_config(self.link, self.config, self.revision, report)
        if result.state is ApplyState.DONE:
            log.info("node %s runs config %s", self.node.name, self.revision.hex())
        else:
            log.error("node %s: %s", self.node.name, result.reason)
            self.log.add(f"-- {result.reason}")
        if result.state is ApplyState.ROLLED_BACK:
            self._given_up.add(self.revision)
        return result

    async def _flush(self) -> None:
        result = await self.link.command("flush")
        if result.status:
            log.warning("node %s does not flush: %s", self.node.name, result.text)
            return
        self.link.status = {}
        await self.link.wait(self._empty, None)

    def _empty(self) -> bool:
        status: dict[int, Any] = self.link.status
        return status.get(counters.SPOOL_FRAMES) == 0 and status.get(counters.SAMPLED) == status.get(
            counters.COMMITTED
        )


def _port(
    node: CompiledNode, board: VirtualNode | None, adapter: "Callable[[], Adapter]"
) -> tuple[str | None, MakePort]:
    """The serial port, if it is one, and what makes the port."""
    link = node.link or ""
    if link.startswith(_BLE):
        from gasan.host.link.ble import BlePort

        target = link.removeprefix(_BLE)
        return None, lambda on_data, on_state: BlePort(target, on_data, on_state, adapter())
    if board is None and not link.startswith(_SERIAL):
        raise InputError(
            _("{node}: no link of the kind {link}; serial:PATH and ble:NAME are known").format(
                node=node.name, link=node.link
            )
        )
    path = link.removeprefix(_SERIAL) if board is None else str(board.port)
    return path, lambda on_data, on_state: SerialPort(path, on_data, on_state)
