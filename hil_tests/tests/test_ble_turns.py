"""More nodes than the gateway's adapter keeps connections: by turns, none starves, nothing is lost."""

import asyncio
import contextlib
import itertools

import pytest
from bleak import BleakClient
from gasan.boards.air import Air
from gasan.boards.vm import VmMissing, find_vm
from gasan.hil.ble_link import BleLinkBench
from gasan.hil.link_bench import NodeOnPty
from gasan.host.ble.adapter import Adapter, Turn
from gasan.host.link.ble import SERVICE, BlePort
from gasan.host.link.ports import PortState

_NODES, _CONNECTIONS, _FRAMES, _TURNS = 5, 2, 30, 2
_FOR_EVER_S = 1e6


class _Port(BlePort):
    """Shows its turn."""

    turn: Turn | None = None

    async def _serve(self, client: BleakClient, gone: asyncio.Event, turn: Turn) -> None:
        self.turn = turn
        try:
            await super()._serve(client, gone, turn)
        finally:
            self.turn = None


class _Served(BleLinkBench):
    """Notes in ``order`` whenever its node gets a connection. A turn's time is up when half of the frames
    have come in it, however busy the machine is.
    """

    port: _Port

    def __init__(self, air: Air, name: str, adapter: Adapter, order: list[str]) -> None:
        super().__init__(air, name, adapter)
        self.name = name
        self.port = _Port(name, self._came, self._state, adapter)
        self._adapter = adapter
        self._order = order

    def has_all(self) -> bool:
        return self._order.count(self.name) >= _TURNS and len(self.frames) >= _FRAMES

    def _came(self, data: bytes) -> None:
        super()._came(data)
        turn, turns = self.port.turn, self._order.count(self.name)
        if turn is not None and len(self.frames) >= min(turns, _TURNS) * _FRAMES // _TURNS:
            turn.since = -_FOR_EVER_S
            self._adapter._admit()

    def _state(self, state: PortState, sentence: str) -> None:
        if state is PortState.OPEN:
            self._order.append(self.name)
        super()._state(state, sentence)


@pytest.mark.parametrize("fresh_s", [10.0, 0.0], ids=["known", "forgotten"])
def test_five_nodes_by_an_adapter_with_two_connections(
    fresh_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fresh_s: for how long a node that waits for its turn need not be looked for again."""
    monkeypatch.setattr("gasan.host.ble.adapter._FRESH_S", fresh_s)
    try:
        find_vm()
    except VmMissing as error:
        pytest.skip(str(error))

    async def run() -> None:
        air = Air()
        air.host_connections = _CONNECTIONS
        await air.start()
        adapter = Adapter(SERVICE, f"127.0.0.1:{air.port}", _CONNECTIONS, turn_s=_FOR_EVER_S)
        names = [f"node-{n:03d}" for n in range(_NODES)]
        order: list[str] = []
        async with contextlib.AsyncExitStack() as stack:
            for name in names:
                stack.enter_context(
                    NodeOnPty(node_id=name.encode(), frames=_FRAMES, air=f"127.0.0.1:{air.port}")
                )
            benches = [await stack.enter_async_context(_Served(air, name, adapter, order)) for name in names]
            for bench in benches:
                await bench.wait(bench.has_all, 90)
        await air.stop()
        print(f"order of service: {' '.join(name[-1] for name in order)}")
        for bench in benches:
            assert {seq for _, seq in bench.frames} == set(range(_FRAMES))
        for name in names:
            places = [at for at, one in enumerate(order) if one == name]
            for before, after in itertools.pairwise(places):
                between = order[before + 1 : after]
                assert all(between.count(other) <= 2 for other in names), order

    asyncio.run(asyncio.wait_for(run(), 240))
