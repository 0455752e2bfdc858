"""The tables and the view of the database; `docs/database.md` explains them to those who query it.

What is written most is kept small. A reading is one row of `sample`, about 20 bytes: its id is ``frame id
<< 16 | index in the frame``, so that rows are appended in order, need no index of their own, and one
(frame, index) can exist only once. Everything a frame's readings share stands once in `frame`; everything a
channel's readings share stands once in `channel`.
"""

from typing import Final

from gasan.wire import columns, quality

__all__ = [
    "APPLICATION_ID",
    "FRAME_SHIFT",
    "LOSS_DAMAGED",
    "LOSS_RESTORED",
    "MIGRATIONS",
    "QUALITY_SQL",
    "SCHEMA",
    "SELECT_READINGS",
    "VERSION",
    "VIEWS",
    "quality_names",
    "time_sql",
]

APPLICATION_ID: Final = 0x6761736E
"""``gasn``: what `file` and SQLite's PRAGMA application_id call the database."""

VERSION: Final = 2
"""PRAGMA user_version: the layout below. `MIGRATIONS` leads here from every earlier one."""

FRAME_SHIFT: Final = 16
"""A frame holds at most 2**16 readings; a reading's row id is ``frame id << FRAME_SHIFT | index``."""

LOSS_DAMAGED: Final = 1
LOSS_RESTORED: Final = 2
"""Reasons in `gateway_loss`."""

_TABLES = """
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store_id BLOB NOT NULL,               -- 8 random bytes: what nodes know this database by
    created_ms INTEGER NOT NULL,          -- Unix time by the gateway's clock of that moment
    crc INTEGER
);

CREATE TABLE node (
    id INTEGER PRIMARY KEY,
    node_id BLOB NOT NULL UNIQUE,         -- 8 bytes: who signs
    name TEXT NOT NULL,                   -- the site file's name of it
    current INTEGER,                      -- the boot of its last session (boot.id), null before the first
    crc INTEGER
);

CREATE TABLE boot (                       -- one start of a node
    id INTEGER PRIMARY KEY,
    node INTEGER NOT NULL REFERENCES node,
    boot BLOB NOT NULL,                   -- 8 random bytes, new at every start
    stored TEXT NOT NULL DEFAULT '',      -- sequence numbers stored, as ranges: 0-57,60; outlives the rows
    gone TEXT NOT NULL DEFAULT '',        -- sequence numbers that tombstones gave up, likewise
    ordinal INTEGER,                      -- from its boot frame: order among the boots of the node
    reset_cause INTEGER,
    firmware TEXT,
    board TEXT,
    config_state INTEGER,                 -- 0 stable, 1 on trial, 2 rolled back
    closed INTEGER NOT NULL DEFAULT 0,    -- 1: the next boot's boot frame has told how it ended:
    last_seq INTEGER,                     --   its last sequence number, null when the node held nothing of it
    final_count INTEGER,                  --   and the readings committed in all, null likewise
    settled_seq INTEGER,                  -- the node said that it holds nothing before this sequence number
    settled_count INTEGER,                -- and the readings it had committed by then
    sampled INTEGER NOT NULL DEFAULT 0,   -- the highest figures the node has told, from status and health
    committed INTEGER NOT NULL DEFAULT 0,
    missed INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    uptime_ms INTEGER NOT NULL DEFAULT 0,
    crc INTEGER,
    UNIQUE (node, boot)
);

CREATE TABLE revision (                   -- one compiled config of a node
    id INTEGER PRIMARY KEY,
    node INTEGER NOT NULL REFERENCES node,
    revision BLOB NOT NULL,               -- first 8 bytes of the config's SHA-256
    crc INTEGER,
    UNIQUE (node, revision)
);

CREATE TABLE channel (                    -- a column: value = ((raw >> shift & mask) * num + off) / den
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL REFERENCES revision,
    number INTEGER NOT NULL,
    device TEXT NOT NULL,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    type INTEGER NOT NULL,                -- gasan.wire.columns: 1 u16, 2 i16, 3 u32 ...
    num INTEGER NOT NULL,
    den INTEGER NOT NULL,
    off INTEGER NOT NULL,
    period_ms INTEGER NOT NULL,
    shift INTEGER NOT NULL,
    mask INTEGER NOT NULL,                -- -1: all bits
    label TEXT NOT NULL,                  -- a person's name for it, or empty
    more TEXT NOT NULL DEFAULT '',        -- JSON of what no other column has (store/meaning.py), or empty
    crc INTEGER,
    UNIQUE (revision, number)
);

CREATE TABLE label (                      -- texts of enumerated values
    channel INTEGER NOT NULL REFERENCES channel,
    value INTEGER NOT NULL,               -- raw >> shift & mask
    text TEXT NOT NULL,
    crc INTEGER,
    PRIMARY KEY (channel, value)
) WITHOUT ROWID;

CREATE TABLE frame (
    id INTEGER PRIMARY KEY,
    boot INTEGER NOT NULL REFERENCES boot,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,                -- 0 data, 1 boot, 2 birth, 3 tombstone, 4 health, 5 crash
    count INTEGER NOT NULL,               -- readings in all earlier frames of the boot
    n INTEGER NOT NULL,                   -- readings in this frame
    mono INTEGER NOT NULL,                -- node-monotonic ms of its earliest sample
    span INTEGER NOT NULL,                -- ms from there to its latest sample
    revision INTEGER NOT NULL REFERENCES revision,
    size INTEGER NOT NULL,                -- bytes, MAC and header included
    tag BLOB NOT NULL,                    -- its MAC: the same identity with another tag is a conflict
    clock INTEGER REFERENCES node_clock,  -- what dates it, null while unknown
    crc INTEGER,                          -- over it and its readings (store/seal.py), null from version 1
    UNIQUE (boot, seq)
);
CREATE INDEX frame_undated ON frame (boot) WHERE clock IS NULL;

CREATE TABLE sample (
    id INTEGER PRIMARY KEY,               -- frame id << 16 | index in the frame
    channel INTEGER NOT NULL REFERENCES channel,
    dt INTEGER NOT NULL,                  -- ms after frame.mono
    raw,                                  -- INTEGER; decimal TEXT beyond signed 64 bits; a float's BLOB; null
    quality INTEGER NOT NULL DEFAULT 0,
    value REAL                            -- only where the view cannot compute it exactly
);

CREATE TABLE undecoded (                  -- data frames whose channels have no meaning yet
    frame INTEGER PRIMARY KEY REFERENCES frame,
    payload BLOB NOT NULL,
    crc INTEGER
);

CREATE TABLE event (                      -- what health and crash frames said
    frame INTEGER PRIMARY KEY REFERENCES frame,
    body TEXT NOT NULL,                   -- health: JSON object of counters by key; crash: the traceback
    crc INTEGER
);

CREATE TABLE tombstone (                  -- frames that a node had to give up
    frame INTEGER PRIMARY KEY REFERENCES frame,
    boot INTEGER NOT NULL REFERENCES boot,
    reason INTEGER NOT NULL,              -- 1 spool overflow, 2 torn, 3 unsendable
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    n INTEGER NOT NULL,                   -- readings in them
    mono_from INTEGER NOT NULL,
    mono_to INTEGER NOT NULL,
    channels TEXT NOT NULL,               -- JSON: [[channel number, readings], ...]
    crc INTEGER
);

CREATE TABLE conflict (                   -- frames that contradict a stored one of the same identity
    id INTEGER PRIMARY KEY,
    boot INTEGER NOT NULL REFERENCES boot,
    seq INTEGER NOT NULL,
    tag BLOB NOT NULL,
    received_ms INTEGER NOT NULL,         -- Unix time by the gateway's clock of that moment
    frame BLOB NOT NULL,
    crc INTEGER,
    UNIQUE (boot, seq, tag)
);

CREATE TABLE tally (                      -- frames that were not stored
    node INTEGER NOT NULL,                -- node.id, 0 while no known node
    what TEXT NOT NULL,                   -- received_again, conflict, bad_mac, bad_shape, unknown_key
    n INTEGER NOT NULL,
    crc INTEGER,
    PRIMARY KEY (node, what)
) WITHOUT ROWID;

CREATE TABLE gateway_clock (              -- gateway-monotonic to UTC: one row for each start of the machine
    id INTEGER PRIMARY KEY,
    machine_boot TEXT NOT NULL UNIQUE,
    mono_ms INTEGER NOT NULL,
    utc_ms INTEGER NOT NULL,
    synchronised INTEGER NOT NULL,        -- 1 when the system said that its clock follows a time server
    crc INTEGER
);

CREATE TABLE node_clock (                 -- node-monotonic of one boot to gateway-monotonic
    id INTEGER PRIMARY KEY,
    boot INTEGER NOT NULL REFERENCES boot,
    from_ms INTEGER NOT NULL,             -- node time at which this row began to serve
    node_ms INTEGER NOT NULL,             -- node time of its latest estimate
    gateway INTEGER NOT NULL REFERENCES gateway_clock,
    gateway_ms INTEGER NOT NULL,
    err_ms INTEGER NOT NULL,              -- bound of the error at node_ms
    rate_ppb INTEGER NOT NULL,            -- by how much the gateway's clock runs faster than the node's
    drift_ppm INTEGER NOT NULL,           -- the bound grows by this with the distance from node_ms
    bounded INTEGER NOT NULL DEFAULT 0,   -- 1: no exchange, but the starts before and after (store/bounds.py)
    crc INTEGER
);
CREATE INDEX node_clock_boot ON node_clock (boot, node_ms);

CREATE TABLE quality (                    -- names of quality codes
    code INTEGER PRIMARY KEY,
    name TEXT NOT NULL
);
"""

_SINCE_2: Final = """
CREATE TABLE retired (                    -- frames that retention took away, as runs without a gap
    boot INTEGER NOT NULL REFERENCES boot,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    count INTEGER NOT NULL,               -- readings in all frames before the run, as in `frame`
    n INTEGER NOT NULL,                   -- readings in the run
    mono INTEGER NOT NULL,                -- node-monotonic ms of its first frame
    span INTEGER NOT NULL,                -- ms from there to its latest sample
    frames INTEGER NOT NULL,
    data_bytes INTEGER NOT NULL,          -- of its data frames
    crc INTEGER,
    PRIMARY KEY (boot, first_seq)
) WITHOUT ROWID;

CREATE TABLE retired_channel (            -- and how many readings of each channel were in them
    channel INTEGER PRIMARY KEY REFERENCES channel,
    n INTEGER NOT NULL,
    bad INTEGER NOT NULL,
    crc INTEGER
);

CREATE TABLE gateway_loss (               -- frames that were stored and are not any more
    boot INTEGER NOT NULL REFERENCES boot,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER,                     -- null: up to the next one that is stored
    reason INTEGER NOT NULL,              -- 1 the file was damaged, 2 a backup was restored
    noted_ms INTEGER NOT NULL,            -- Unix time by the gateway's clock of that moment
    crc INTEGER,
    PRIMARY KEY (boot, first_seq)
) WITHOUT ROWID;

CREATE TABLE dropped (                    -- readings that a rule of the node left out, of each channel
    boot INTEGER NOT NULL REFERENCES boot,
    revision INTEGER NOT NULL REFERENCES revision,
    number INTEGER NOT NULL,              -- channel.number
    n INTEGER NOT NULL,                   -- the highest that the node has told
    crc INTEGER,
    PRIMARY KEY (boot, number)
) WITHOUT ROWID;

CREATE TABLE spare (                      -- second copies of rows that all others hang on (store/rows.py)
    of TEXT NOT NULL,                     -- table
    key TEXT NOT NULL,                    -- JSON: its primary key
    row TEXT NOT NULL,                    -- JSON: its columns but crc; bytes as hexadecimal in a list
    crc INTEGER,
    PRIMARY KEY (of, key)
) WITHOUT ROWID;

CREATE TABLE modbus_device (              -- the Modbus devices of a config, and the line that each is on
    revision INTEGER NOT NULL REFERENCES revision,
    first INTEGER NOT NULL,               -- its first channel.number
    device TEXT NOT NULL,                 -- as in `channel`
    line TEXT NOT NULL,                   -- the bus
    kind INTEGER NOT NULL,                -- 0 RTU, 1 TCP
    unit INTEGER NOT NULL,
    setting TEXT NOT NULL,                -- 9600 8N1, or host:port
    crc INTEGER,
    PRIMARY KEY (revision, first)
) WITHOUT ROWID;

CREATE TABLE write_request (              -- who asked for what to be written to a machine; rows never change
    id INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,             -- Unix time by the gateway's clock of that moment
    node TEXT NOT NULL,
    device TEXT NOT NULL,
    channel TEXT NOT NULL,
    who TEXT NOT NULL,                    -- the account on the gateway
    value TEXT NOT NULL,                  -- as asked, in the channel's unit
    raw TEXT,                             -- hex of the registers that it makes, null when it makes none
    boot TEXT,                            -- hex of the node's start that it was sent to, null: to none
    crc INTEGER
);

CREATE TABLE write_outcome (              -- what became of it; none: the gateway ended meanwhile
    request INTEGER PRIMARY KEY REFERENCES write_request,
    time_ms INTEGER NOT NULL,
    outcome TEXT NOT NULL,                -- gasan.host.writes.Outcome
    old TEXT,                             -- value before, in the channel's unit; null: not read
    new TEXT,                             -- value that was read back; null: not read
    detail TEXT NOT NULL,                 -- why, as a sentence or empty
    crc INTEGER
);
CREATE TRIGGER request_kept BEFORE UPDATE OF id, time_ms, node, device, channel, who, value, raw, boot
    ON write_request BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER request_stays BEFORE DELETE ON write_request BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER outcome_kept BEFORE UPDATE OF request, time_ms, outcome, old, new, detail
    ON write_outcome BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER outcome_stays BEFORE DELETE ON write_outcome BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""

_GIVEN_A_CRC: Final = (
    "frame", "store", "node", "boot", "revision", "channel", "label", "undecoded", "event", "tombstone",
    "conflict", "tally", "gateway_clock", "node_clock",
)  # fmt: skip

MIGRATIONS: Final = {
    1: "ALTER TABLE node_clock ADD COLUMN bounded INTEGER NOT NULL DEFAULT 0;\n"
    "ALTER TABLE channel ADD COLUMN more TEXT NOT NULL DEFAULT '';\n"
    "UPDATE quality SET name = 'bad/input' WHERE code = 71;\n"
    "UPDATE quality SET name = 'bad/undefined' WHERE code = 72;\n"
    + "".join(f"ALTER TABLE {table} ADD COLUMN crc INTEGER;\n" for table in _GIVEN_A_CRC)
    + _SINCE_2
}
"""What makes of a database of each earlier version one of the next; the views are made anew after it."""


def time_sql(mono: str) -> str:
    """SQL for the Unix time in ms of the node-monotonic SQL expression `mono`, null while unknown.

    rate_ppb is some 100,000 at most, so the product stays within 64 bits for a thousand years.
    """
    distance = f"({mono} - node_clock.node_ms)"
    return (
        f"node_clock.gateway_ms + {distance} + {distance} * node_clock.rate_ppb / 1000000000"
        " + gateway_clock.utc_ms - gateway_clock.mono_ms"
    )


QUALITY_SQL: Final = (
    f"iif(sample.quality = {quality.GOOD} AND coalesce(node_clock.bounded, 1), {quality.UNCERTAIN_TIME},"
    " sample.quality)"
)
"""A good value whose time is unknown, or only lies between two others, is not good."""

_TEXT: Final = (
    "CAST(substr(sample.raw, 1, iif(instr(sample.raw, x'00'), instr(sample.raw, x'00') - 1, 62)) AS TEXT)"
)

SELECT_READINGS: Final = f"""
SELECT
    node.name AS node,
    channel.device AS device,
    channel.name AS channel,
    {time_sql("frame.mono + sample.dt")} AS time_ms,
    node_clock.err_ms
        + (abs(frame.mono + sample.dt - node_clock.node_ms) * node_clock.drift_ppm + 999999) / 1000000
        AS time_err_ms,
    CASE
        WHEN sample.quality >= {quality.BAD_NO_VALUE} THEN NULL
        WHEN typeof(sample.raw) <> 'integer' OR sample.value IS NOT NULL THEN sample.value
        ELSE CAST(((sample.raw >> channel.shift) & channel.mask) * channel.num + channel.off AS REAL)
            / channel.den
    END AS value,
    sample.raw AS raw,
    CASE
        WHEN sample.quality >= {quality.BAD_NO_VALUE} THEN NULL
        WHEN typeof(sample.raw) = 'integer' THEN
            (SELECT label.text FROM label WHERE label.channel = sample.channel
             AND label.value = ((sample.raw >> channel.shift) & channel.mask))
        WHEN channel.type > {columns.TEXT} AND {_TEXT} NOT GLOB '*[^ -~]*' THEN rtrim({_TEXT})
    END AS text,
    channel.unit AS unit,
    coalesce((SELECT quality.name FROM quality WHERE quality.code = {QUALITY_SQL}),
             'code ' || sample.quality) AS quality,
    lower(hex(boot.boot)) AS boot,
    frame.seq AS seq
FROM node
CROSS JOIN boot ON boot.node = node.id
CROSS JOIN frame ON frame.boot = boot.id
LEFT JOIN node_clock ON node_clock.id = frame.clock
LEFT JOIN gateway_clock ON gateway_clock.id = node_clock.gateway
CROSS JOIN sample
    ON sample.id >= (frame.id << {FRAME_SHIFT}) AND sample.id < ((frame.id + 1) << {FRAME_SHIFT})
CROSS JOIN channel ON channel.id = sample.channel"""
"""The view's text. A caller may add a WHERE over its tables, which a query of the view could not.

CROSS JOIN keeps SQLite to this order: else its planner may build an index over `sample` for each frame.
"""

_RUNS: Final = """
SELECT boot, seq AS first_seq, seq AS last_seq, count, n, mono, span, 1 AS frames,
    iif(kind = 0, size, 0) AS data_bytes
FROM frame
UNION ALL
SELECT boot, first_seq, last_seq, count, n, mono, span, frames, data_bytes FROM retired"""
"""Whatever was stored, each frame or retired run of frames a row: what the account counts."""

VIEWS: Final = {"readings": SELECT_READINGS, "run": _RUNS}

SCHEMA: Final = f"{_TABLES}{_SINCE_2}"


def quality_names() -> list[tuple[int, str]]:
    """(code, name) of every quality a reading can have."""
    return [(code, quality.name(code)) for code in range(256)]
