"""A scripted node with a link: it answers a gateway over a pty as a node does, in the test's own event
loop.
"""

import asyncio
import os
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from gasan.hil.link_bench import packets, to_gateway
from gasan.hil.scripted_node import ScriptedNode
from gasan.host.store.counters import COMMITTED, NEXT_SEQ, SAMPLED, SPOOL_BYTES, SPOOL_FRAMES, UPTIME_MS
from gasan.wire import cbor, link
from gasan.wire.cose import Hmac

__all__ = ["LinkedNode"]

_STATUS_S = 0.1
_RESEND_S = 1.0


class LinkedNode:
    """A `ScriptedNode` on a pty; `port` is what a gateway opens. Use it as an async context manager.

    `spool` holds (boot, seq, frame) until it is acknowledged. `take_config` says what becomes of a config
    that is activated: the channels of its births when it comes up, or None when it does not and is rolled
    back.
    """

    def __init__(self, folder: Path, random: Random, name: str = "press-1") -> None:
        self.node = ScriptedNode(random, name)
        self.port = folder / f"{name}-console"
        self.spool: list[tuple[bytes, int, bytes]] = []
        self.open_batch = 0
        self.commands: list[tuple[str, list[Any]]] = []
        self.configs: dict[bytes, bytes] = {}
        self.take_config: Callable[[bytes], list[list[Any]] | None] = lambda config: []
        self.answers = True
        self._random = random
        self._started = 0.0
        self._session: link.Session | None = None
        self._sent = 0
        self._part = b""
        self._output = bytearray()
        self._acknowledged_s = 0.0
        self._master = -1
        self._slave = -1
        self._blob = bytearray()
        self._status: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "LinkedNode":
        self.plug()
        self._status = asyncio.create_task(self._tell_status())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._status is not None
        self._status.cancel()
        with suppress(asyncio.CancelledError):
            await self._status
        if self._master >= 0:
            self.unplug()

    # -- what a test does

    def plug(self) -> None:
        """Connects the cable, under a new terminal and the same name."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port.unlink(missing_ok=True)
        self.port.symlink_to(os.ttyname(self._slave))
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def unplug(self) -> None:
        """Pulls the cable."""
        asyncio.get_running_loop().remove_reader(self._master)
        asyncio.get_running_loop().remove_writer(self._master)
        self._output.clear()
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1
        self._session = None
        self.port.unlink(missing_ok=True)

    def start(self, state: int = 0) -> None:
        """Powers the node on, or off and on again: what it had not committed is lost."""
        self.open_batch = 0
        self._session = None
        self._started = asyncio.get_running_loop().time()
        frame = self.node.start(state=state)
        self.spool.append((self.node.boot, 0, frame))
        self.write(b"boot\r\n")
        self._announce()

    def commit(self, frame: bytes) -> None:
        """Puts a frame that the scripted node has just made into the spool."""
        self.spool.append((self.node.boot, self.node.seq - 1, frame))
        self._send_frames()

    def mono(self) -> int:
        return int((asyncio.get_running_loop().time() - self._started) * 1000)

    def write(self, data: bytes) -> None:
        """Bytes on the console, whatever they are."""
        self._output += data
        self._writable()

    # -- the link

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return
        self._part += data
        end = self._part.rfind(b"\0") + 1
        whole, self._part = self._part[:end], self._part[end:]
        if self.answers:
            for packet in packets(whole, armoured=True):
                self._packet(packet)
            if self._session is not None and self._session.seen >= 0:
                self._send(link.SEEN, [self._session.seen])

    def _writable(self) -> None:
        """Writes what the terminal takes; the rest when it takes more."""
        if self._master < 0:
            self._output.clear()
            return
        with suppress(BlockingIOError):
            del self._output[: os.write(self._master, self._output)]
        loop = asyncio.get_running_loop()
        if self._output:
            loop.add_writer(self._master, self._writable)
        else:
            loop.remove_writer(self._master)

    def _packet(self, packet: bytes) -> None:
        if packet[0] == link.HELLO:
            self._reply(packet)
        elif self._session is not None:
            try:
                data = self._session.open(packet)
            except link.LinkError:
                return
            self._message(packet[0], link.body(packet[0], data))

    def _announce(self) -> None:
        node = self.node
        self.write(to_gateway(b"\x01" + cbor.dumps([1, node.node_id, node.generation, node.boot])))

    def _reply(self, hello: bytes) -> None:
        _version, nonce_g, store_id = link.body(link.HELLO, hello[1:])
        node, nonce_n = self.node, self._random.randbytes(16)
        k_link = Hmac(link.link_key(node.key))
        packet = b"\x03" + cbor.dumps([1, node.node_id, node.generation, node.boot, nonce_n])
        context = link.context(nonce_g, nonce_n, node.node_id, node.boot, store_id, node.generation)
        self._session = link.Session(k_link, context, True)
        self.write(to_gateway(packet + k_link.tag(packet, nonce_g, store_id)))

    def _message(self, kind: int, body: list[Any]) -> None:
        if kind == link.WELCOME:
            for entry in body[0]:
                self._acknowledged(*entry)
            self._sent = 0
            self._send_status()
        elif kind == link.ACK:
            self._acknowledged(*body)
        elif kind == link.TIME_REQ:
            self._send(link.TIME_RESP, [body[0], self.mono(), self.mono()])
        elif kind == link.PUT:
            self._put(*body)
        elif kind == link.COMMAND:
            self._command(*body)
        self._send_frames()

    def _acknowledged(self, boot: bytes, following: int, flat: list[int]) -> None:
        self._acknowledged_s = asyncio.get_running_loop().time()
        ranges = list(zip(flat[::2], flat[1::2], strict=True))

        def is_held(of: bytes, seq: int) -> bool:
            return of == boot and (seq < following or any(first <= seq <= last for first, last in ranges))

        self._sent -= sum(is_held(of, seq) for of, seq, _ in self.spool[: self._sent])
        self.spool = [entry for entry in self.spool if not is_held(entry[0], entry[1])]

    def _put(self, kind: int, digest: bytes, total: int, offset: int, data: bytes) -> None:
        if offset == 0:
            self._blob.clear()
        if offset == len(self._blob):
            self._blob += data
        done = len(self._blob) == total
        if done:
            self.configs[digest] = bytes(self._blob)
        status = link.PUT_COMPLETE if done else link.PUT_MORE
        self._send(link.PUT_ACK, [kind, digest, len(self._blob), status])

    def _command(self, number: int, name: str, args: list[Any]) -> None:
        self.commands.append((name, args))
        self._send(link.RESULT, [number, 0, "done"])
        if name == "flush":
            self.open_batch = 0
            self._send_status()
        elif name == "activate":
            births = self.take_config(self.configs[args[0]])
            if births is None:
                self.start(state=2)
            else:
                self.node.revision = args[0]
                self.start(state=1)
                for channels in births:
                    self.commit(self.node.birth(channels))

    def _send_frames(self) -> None:
        while self._session is not None and self._sent < min(len(self.spool), link.WINDOW):
            self._send(link.DATA, raw=self.spool[self._sent][2])
            self._sent += 1

    async def _tell_status(self) -> None:
        while True:
            await asyncio.sleep(_STATUS_S)
            self._send_status()
            if self._sent and asyncio.get_running_loop().time() - self._acknowledged_s > _RESEND_S:
                self._sent = 0
                self._acknowledged_s = asyncio.get_running_loop().time()
                self._send_frames()

    def _send_status(self) -> None:
        committed = self.node.count
        values = {
            SAMPLED: committed + self.open_batch,
            COMMITTED: committed,
            SPOOL_FRAMES: len(self.spool),
            SPOOL_BYTES: sum(len(frame) for _, _, frame in self.spool),
            NEXT_SEQ: self.node.seq,
            UPTIME_MS: self.mono(),
        }
        self._send(link.STATUS, values)

    def _send(self, kind: int, body: Any = None, raw: bytes = b"") -> None:
        if self._session is None:
            return
        data = raw if body is None else cbor.dumps(body)
        buf = bytearray(link.HEAD) + data + bytes(link.MAC)
        self._session.seal(buf, 0, kind, link.HEAD + len(data))
        self.write(to_gateway(bytes(buf)))
