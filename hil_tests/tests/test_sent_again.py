"""A node sends again what it was not told is stored, and meanwhile the store has retired it."""

from pathlib import Path

import pytest
from gasan.hil import vmrun
from gasan.hil.register_server import serve_registers
from gasan.hil.site_node import KEYS, NODE_ID, site_node
from gasan.host.account import account
from gasan.host.store import open_store
from gasan.host.store.check import examine
from gasan.host.store.ingest import Ingest, Outcome
from gasan.host.store.retention import Keep, Retention

SITE = """\
[site]
name = "again"

[[node]]
name = "node"
board = "virtual"
link = "serial:/dev/null"

[node.batch]
max_age = "300ms"

[[node.bus]]
name = "lan"
type = "modbus-tcp"
host = "127.0.0.1"
port = {port}

[[node.bus.device]]
name = "counter"
unit = 1
profile = "sim/counter"
period = "100ms"
"""


def test_what_was_retired_is_not_counted_or_stored_twice(tmp_path: Path) -> None:
    if missing := vmrun.missing(64):
        pytest.skip(missing)
    asked = []

    def read(address: int, count: int) -> bytes:
        asked.append(address)
        return len(asked).to_bytes(4, "big") * (count // 2)

    with (
        serve_registers(read) as server,
        site_node(tmp_path, SITE.format(port=server.port)) as node,
        open_store(node.db) as store,
    ):
        gateway = node.gateway
        gateway.acknowledge = False
        gateway.wait(lambda: gateway.readings() >= 6 and gateway.again >= 3, 40)  # a node waits for 3 s
        first, sent_again = [], []
        for data in gateway.came:
            (sent_again if data in first else first).append(data)
        ingest = Ingest(store, KEYS)
        assert {receipt.outcome for receipt in ingest.store(first)} == {Outcome.STORED}
        stored = account(node.db).total("stored")
        assert stored >= 6
        retention = Retention(Keep(max_bytes=1))
        with ingest.transaction():
            ingest.session(NODE_ID, gateway.frames[0].boot)
            while retention.step(store.connection, 0):
                pass
        assert retention.readings == stored and node.readings() == []

        assert len(sent_again) >= 3
        assert {receipt.outcome for receipt in ingest.store(sent_again)} == {Outcome.AGAIN}
        assert node.readings() == [], "what has gone stays away"
        gateway.acknowledge = True
        gateway.command("flush")
        gateway.wait(lambda: gateway.status[5] == 0, 20)
        came = gateway.came[len(first) + len(sent_again) :]
        receipts = ingest.store(came)
        with ingest.transaction():
            ingest.figures(NODE_ID, gateway.frames[0].boot, gateway.status)
        drawn = account(node.db)
        (books,) = drawn.nodes
    again = len(sent_again) + sum(receipt.outcome is Outcome.AGAIN for receipt in receipts)
    assert drawn.agrees and (books.duplicated, books.conflicts, books.lost, books.pending) == (0, 0, 0, 0)
    assert books.sampled == books.stored == gateway.readings() == gateway.status[1] > stored
    assert books.received_again == again
    with open_store(node.db) as store:
        assert examine(store.connection).sound
