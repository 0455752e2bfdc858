"""Writes database_N.sql and .json, the sample of the present version of the database, a bit of everything.

Run it when the version has been raised, and as long as that version has not been released; a released sample
is never made anew: today's code has to read what the code of that day wrote.
"""

import json
import tempfile
from contextlib import closing
from pathlib import Path
from random import Random

from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host.account import account
from gasan.host.store import open_reader, open_store, readings
from gasan.host.store.dating import NodeMapping
from gasan.host.store.ingest import Ingest
from gasan.host.store.schema import APPLICATION_ID, VERSION
from gasan.wire import columns

FOLDER = Path(__file__).parent
CHANNELS = [
    channel("meter", "energy", columns.U32, unit="kWh", den=100),
    channel("meter", "power", columns.F32, unit="W"),
    channel("drive", "state", columns.U16, unit="", more={3: {0: "stopped", 1: "running"}}),
    channel("meter", "total", columns.U64, unit="Wh"),
]
COLUMNS = [
    (columns.U32, [100, 105, None]),
    (columns.F32, [1.5, float("nan"), -2.25]),
    (columns.U16, [0, 1, 1]),
    (columns.U64, [2**64 - 1, 5, 6]),
]


def fill(path: Path) -> None:
    random = Random(1)
    node, other = ScriptedNode(random), ScriptedNode(random, "press-2")
    with open_store(path) as store:
        ingest = Ingest(store, ScriptedKeys(node, other))
        ingest.store([node.start(), node.birth(CHANNELS), other.start()])
        with ingest.transaction():
            gateway = ingest.set_gateway_clock("machine-boot-1", 1_000_000, 1_770_000_000_000, True)
            mapping = NodeMapping(2000, gateway, 1_002_000, 7, 120, 30)
            ingest.set_node_clock(node.node_id, node.boot, mapping)
        ingest.store(
            [
                node.data(COLUMNS, marks={(2, 1): 1}),
                node.health({1: 12, 2: 12, 5: 0, 6: 0, 10: 4, 11: 60_000}),
                node.crash("Traceback (most recent call last):\nValueError: sample"),
                node.tombstone(5, 6, 8, mono_from=5000, mono_to=9000, channels=[0, 4, 1, 4]),
            ]
        )
        node.seq, node.count = 7, node.count + 8
        ingest.store(
            [node.data([(columns.U32, [200])], mono=70_000), other.data([(columns.U16, [7, 8])]), b"no frame"]
        )
        ingest.store([node.start()])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.sqlite"
        fill(path)
        with closing(open_reader(path)) as db:
            rows = [[v.hex() if isinstance(v, bytes) else v for v in row] for row in readings(db)]
            dump = "\n".join(db.iterdump())
        drawn = {key: value for key, value in account(path).as_dict().items() if key != "db"}
    (FOLDER / f"database_{VERSION}.sql").write_text(
        f"-- A database of version {VERSION} as gasan wrote it; never changed once released.\n"
        f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {VERSION};\n{dump}\n"
    )
    (FOLDER / f"database_{VERSION}.json").write_text(
        json.dumps({"account": drawn, "readings": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
