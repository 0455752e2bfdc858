"""Checksums of rows, and second copies of those that everything else hangs on; triggers keep both.

SQLite has no checksums, and to it a row in which only a value has changed is whole. `frame` and `sample` have
their seal (seal.py). Every row of the other tables carries a checksum of its own, and the few rows without
which readings would have no owner, meaning or time stand a second time in `spare`, on another page.

The triggers belong to the writing connection (``install``), so nobody who writes through it has to think of
them, and any SQLite tool can read the database.
"""

import json
import sqlite3
import struct
from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

__all__ = ["AS_WRITTEN", "COPIED", "SEALED", "columns", "copy_of", "install", "keys", "row_crc", "seal_all"]

COPIED: Final = ("store", "node", "boot", "revision", "channel", "label", "gateway_clock", "node_clock")
"""Tables whose rows stand in `spare` as well; of a boot only what it is, not its changing figures, and only
the first clock of each boot.
"""

SEALED: Final = (
    *COPIED, "undecoded", "event", "tombstone", "dropped", "conflict", "tally", "retired", "retired_channel",
    "gateway_loss", "modbus_device", "write_request", "write_outcome",
)  # fmt: skip
"""Tables whose rows carry a checksum in `crc`."""

AS_WRITTEN: Final = ("boot", "node_clock")
"""Tables whose second copies are of the rows as they were first written."""

_DOUBLE: Final = struct.Struct("<d")


def install(connection: sqlite3.Connection) -> None:
    """Has every row that this connection writes sealed and copied."""
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.create_function("gasan_crc", -1, row_crc, deterministic=True)
    connection.create_function("gasan_row", -1, _text, deterministic=True)
    for table in SEALED:
        names, key = columns(connection, table), keys(connection, table)
        here = " AND ".join(f"{name} = NEW.{name}" for name in key)
        seal = f"UPDATE {table} SET crc = {_crc_of(table, names, 'NEW.')} WHERE {here};"
        copy = _copy_of(table, names, key) if table in COPIED else ""
        changes = "" if table in AS_WRITTEN else copy
        connection.execute(
            f"CREATE TEMP TRIGGER seal_{table}_new AFTER INSERT ON main.{table} BEGIN {seal} {copy} END"
        )
        if table in COPIED:
            here = f"of = '{table}' AND key = gasan_row({', '.join(f'OLD.{name}' for name in key)})"
            connection.execute(
                f"CREATE TEMP TRIGGER copy_{table}_gone AFTER DELETE ON main.{table}"
                f" BEGIN DELETE FROM spare WHERE {here}; END"
            )
        connection.execute(
            f"CREATE TEMP TRIGGER seal_{table} AFTER UPDATE OF {', '.join(names)} ON main.{table}"
            f" BEGIN {seal} {changes} END"
        )


def seal_all(connection: sqlite3.Connection) -> None:
    """Seals and copies the rows that an earlier version wrote; within the open transaction."""
    for table in SEALED:
        names, key = columns(connection, table), keys(connection, table)
        connection.execute(f"UPDATE {table} SET crc = {_crc_of(table, names, '')}")
        if table in COPIED:
            which = " GROUP BY boot HAVING id = min(id)" if table == "node_clock" else ""
            for row in connection.execute(f"SELECT {', '.join(names)} FROM {table}{which}").fetchall():
                values = dict(zip(names, row, strict=True))
                copy = _text(*(values[name] for name in key)), _text(*row)
                crc = row_crc("spare", table, *copy)
                connection.execute("INSERT OR REPLACE INTO spare VALUES (?, ?, ?, ?)", (table, *copy, crc))


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """The columns of a table, without its checksum."""
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != "crc"]


def keys(connection: sqlite3.Connection, table: str) -> list[str]:
    """The columns of a table's primary key, in their order in it."""
    rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return [row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5]]


def row_crc(table: str, *values: Any) -> int:
    """The checksum of a row: of the table's name and all of its values."""
    return crc32(b"\0".join(map(_bytes, values)), crc32(table.encode()))


def copy_of(text: str) -> list[Any]:
    """The values of a row from its second copy. Raises ValueError."""
    loaded = json.loads(text)
    if not isinstance(loaded, list):
        raise ValueError("a copy is a list")
    return [bytes.fromhex(value[0]) if isinstance(value, list) else value for value in loaded]


def _crc_of(table: str, names: Sequence[str], before: str) -> str:
    return f"gasan_crc('{table}', {', '.join(before + name for name in names)})"


def _copy_of(table: str, names: Sequence[str], key: Sequence[str]) -> str:
    place, row = (f"gasan_row({', '.join(f'NEW.{name}' for name in some)})" for some in (key, names))
    only = f"SELECT '{table}', {place}, {row}, gasan_crc('spare', '{table}', {place}, {row})"
    if table == "node_clock":
        only += " WHERE NOT EXISTS (SELECT 1 FROM node_clock WHERE boot = NEW.boot AND id <> NEW.id)"
    # Not INSERT OR REPLACE: what a statement outside does on a conflict holds inside of its triggers, too.
    return f"DELETE FROM spare WHERE of = '{table}' AND key = {place}; INSERT INTO spare {only};"


def _text(*values: Any) -> str:
    """A row as JSON; bytes are hexadecimal, in a list."""
    return json.dumps([[value.hex()] if isinstance(value, bytes) else value for value in values])


def _bytes(value: Any) -> bytes:
    if isinstance(value, int):
        return b"i%d" % value
    if isinstance(value, str):
        return b"s%d %s" % (len(value), value.encode())
    if isinstance(value, bytes):
        return b"b%d %s" % (len(value), value)
    return b"n" if value is None else b"f" + _DOUBLE.pack(value)
