"""Turns by an adapter that keeps fewer connections than are wanted, without any radio."""

import asyncio

from gasan.host.ble.adapter import Adapter, Turn


def test_first_come_first_served_and_nobody_gives_way_for_nobody() -> None:
    async def run() -> None:
        adapter = Adapter("service", slots=2, turn_s=0.02)
        order: list[int] = []
        held: list[Turn] = []

        async def hold(name: int) -> None:
            async with adapter.turn() as turn:
                order.append(name)
                held.append(turn)
                await turn.over.wait()

        holders = [asyncio.create_task(hold(name)) for name in range(6)]
        await asyncio.wait(holders[:4])
        assert order == [0, 1, 2, 3, 4, 5]
        await asyncio.sleep(0.1)
        assert not any(turn.over.is_set() for turn in held[4:])
        for holder in holders[4:]:
            holder.cancel()
        await asyncio.gather(*holders, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_who_gives_up_waiting_takes_nothing_along() -> None:
    async def run() -> None:
        adapter = Adapter("service", slots=1, turn_s=1e6)
        order: list[str] = []

        async def hold(name: str) -> None:
            async with adapter.turn():
                order.append(name)
                await asyncio.sleep(1e6 if name == "first" else 0)

        first, second, third, fourth = [asyncio.create_task(hold(it)) for it in ("first", "2", "3", "4")]
        await asyncio.sleep(0)
        second.cancel()  # while it waits
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)  # the turn is the third's now, which does not know yet
        third.cancel()
        await asyncio.wait([fourth])
        assert order == ["first", "4"]
        await asyncio.gather(first, second, third, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_turn_that_ends_while_those_who_wait_are_cancelled() -> None:
    """As when the gateway stops: who is cancelled first does not know it yet when the turn is given back."""

    async def run() -> None:
        adapter = Adapter("service", slots=1, turn_s=1e6)

        async def hold() -> None:
            async with adapter.turn():
                await asyncio.sleep(1e6)

        holders = [asyncio.create_task(hold()) for _ in range(4)]
        await asyncio.sleep(0)
        for holder in holders[:3]:
            holder.cancel()
        ends = await asyncio.gather(*holders[:3], return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 3
        assert len(adapter._turns) == 1  # the fourth's
        holders[3].cancel()
        await asyncio.wait(holders)
        assert not adapter._turns and not adapter._waiting

    asyncio.run(asyncio.wait_for(run(), 60))
