"""The gateway's memory stays flat however much comes in, with everything on: seals, retention, its bound."""

from pathlib import Path

from gasan.hil.bench.ingest import growth, ten_million

MOST_KIB = 1024


def test_memory_is_flat_over_many_readings(tmp_path: Path, soak: bool) -> None:
    """Three hundred thousand; ten million with --soak."""
    if soak:
        row = ten_million()
        print(row.name, row.figure, row.unit, row.note)
        assert row.met
        return
    path = tmp_path / "a.sqlite"
    assert growth(path, transactions=40, bound=3_000_000) <= MOST_KIB
    assert path.stat().st_size <= 3_000_000
