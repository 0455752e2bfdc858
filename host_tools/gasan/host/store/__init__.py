"""The embedded store: SQLite, written before anything is acknowledged (docs/database.md)."""

from gasan.host.store.open import Store, StoreDamagedError, StoreUnavailableError, open_reader, open_store
from gasan.host.store.query import Crash, Reading, crashes, readings

__all__ = [
    "Crash",
    "Reading",
    "Store",
    "StoreDamagedError",
    "StoreUnavailableError",
    "crashes",
    "open_reader",
    "open_store",
    "readings",
]
