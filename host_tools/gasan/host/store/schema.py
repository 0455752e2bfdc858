"""The tables and the view of the database; `docs/database.md` explains them to those who query it.

What is written most is kept small. A reading is one row of `sample`, about 20 bytes: its id is ``frame id
<< 16 | index in the frame``, so that rows are appended in order, need no index of their own, and one
(frame, index) can exist only once. Everything a frame's readings share stands once in `frame`; everything a
channel's readings share stands once in `channel`.
"""

from typing import Final

from gasan.wire import quality

__all__ = [
    "APPLICATION_ID",
    "FRAME_SHIFT",
    "SCHEMA",
    "SELECT_READINGS",
    "VERSION",
    "quality_names",
    "time_sql",
]

APPLICATION_ID: Final = 0x6761736E
"""``gasn``: what `file` and SQLite's PRAGMA application_id call the database."""

VERSION: Final = 1
"""PRAGMA user_version: the layout below."""

FRAME_SHIFT: Final = 16
"""A frame holds at most 2**16 readings; a reading's row id is ``frame id << FRAME_SHIFT | index``."""

_TABLES = """
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store_id BLOB NOT NULL,               -- 8 random bytes: what nodes know this database by
    created_ms INTEGER NOT NULL           -- Unix time by the gateway's clock of that moment
);

CREATE TABLE node (
    id INTEGER PRIMARY KEY,
    node_id BLOB NOT NULL UNIQUE,         -- 8 bytes: who signs
    name TEXT NOT NULL,                   -- the site file's name of it
    current INTEGER                       -- the boot of its last session (boot.id), null before the first
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
    UNIQUE (node, boot)
);

CREATE TABLE revision (                   -- one compiled config of a node
    id INTEGER PRIMARY KEY,
    node INTEGER NOT NULL REFERENCES node,
    revision BLOB NOT NULL,               -- first 8 bytes of the config's SHA-256
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
    UNIQUE (revision, number)
);

CREATE TABLE label (                      -- texts of enumerated values
    channel INTEGER NOT NULL REFERENCES channel,
    value INTEGER NOT NULL,               -- raw >> shift & mask
    text TEXT NOT NULL,
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
    payload BLOB NOT NULL
);

CREATE TABLE event (                      -- what health and crash frames said
    frame INTEGER PRIMARY KEY REFERENCES frame,
    body TEXT NOT NULL                    -- health: JSON object of counters by key; crash: the traceback
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
    channels TEXT NOT NULL                -- JSON: [[channel number, readings], ...]
);

CREATE TABLE conflict (                   -- frames that contradict a stored one of the same identity
    id INTEGER PRIMARY KEY,
    boot INTEGER NOT NULL REFERENCES boot,
    seq INTEGER NOT NULL,
    tag BLOB NOT NULL,
    received_ms INTEGER NOT NULL,         -- Unix time by the gateway's clock of that moment
    frame BLOB NOT NULL,
    UNIQUE (boot, seq, tag)
);

CREATE TABLE tally (                      -- frames that were not stored
    node INTEGER NOT NULL,                -- node.id, 0 while no known node
    what TEXT NOT NULL,                   -- received_again, conflict, bad_mac, bad_shape, unknown_key
    n INTEGER NOT NULL,
    PRIMARY KEY (node, what)
) WITHOUT ROWID;

CREATE TABLE gateway_clock (              -- gateway-monotonic to UTC: one row for each start of the machine
    id INTEGER PRIMARY KEY,
    machine_boot TEXT NOT NULL UNIQUE,
    mono_ms INTEGER NOT NULL,
    utc_ms INTEGER NOT NULL,
    synchronised INTEGER NOT NULL         -- 1 when the system said that its clock follows a time server
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
    drift_ppm INTEGER NOT NULL            -- the bound grows by this with the distance from node_ms
);
CREATE INDEX node_clock_boot ON node_clock (boot, node_ms);

CREATE TABLE quality (                    -- names of quality codes
    code INTEGER PRIMARY KEY,
    name TEXT NOT NULL
);
"""


def time_sql(mono: str) -> str:
    """SQL for the Unix time in ms of the node-monotonic SQL expression `mono`, null while unknown.

    rate_ppb is some 100,000 at most, so the product stays within 64 bits for a thousand years.
    """
    distance = f"({mono} - node_clock.node_ms)"
    return (
        f"node_clock.gateway_ms + {distance} + {distance} * node_clock.rate_ppb / 1000000000"
        " + gateway_clock.utc_ms - gateway_clock.mono_ms"
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
    END AS text,
    channel.unit AS unit,
    coalesce((SELECT quality.name FROM quality WHERE quality.code = sample.quality),
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

SCHEMA: Final = f"{_TABLES}\nCREATE VIEW readings AS {SELECT_READINGS};\n"


def quality_names() -> list[tuple[int, str]]:
    """(code, name) of every quality a reading can have."""
    return [(code, quality.name(code)) for code in range(256)]
