"""The frame bench: sizes and exactness of the workloads, and of any other file; what is wrong with a file."""

import json
from pathlib import Path
from typing import Any

import pytest
from gasan.hil.bench import frame
from gasan.hil.bench.workload import WorkloadError, load


@pytest.fixture(autouse=True)
def time_each_frame_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are for the bench, not for the tests."""
    monkeypatch.setattr(frame, "_TIMED", 1)


def write(folder: Path, content: Any) -> Path:
    path = folder / "workload.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "bar"), [("w1_meter_10x12", 2.0), ("w2_ble_3x40", 6.0)])
def test_workloads_stay_below_their_bars(name: str, bar: float, bits: int) -> None:
    figures = frame.measure_all(load(frame.WORKLOADS / f"{name}.json"), bits)
    assert figures.exact
    assert figures.readings == 120
    assert figures.frame_bytes / figures.readings <= bar
    assert figures.encoding == 0
    assert figures.sealing <= 600


def many(columns: int, n: int) -> list[dict[str, Any]]:
    return [
        {"channel": f"c{c}", "values": [(c * 7919 + i * 104729) % 65521 for i in range(n)]}
        for c in range(columns)
    ]


WORKLOADS = {
    "a single sample": {"period_ms": 5, "columns": [{"channel": "x", "values": [1]}]},
    "a column of nulls": {"period_ms": 5, "columns": [{"channel": "x", "values": [None, None, None]}]},
    "nothing but a null": {"period_ms": 0, "columns": [{"channel": "x", "values": [None]}]},
    "64 bits": {
        "period_ms": 1000,
        "columns": [
            {"channel": "u", "values": [0, (1 << 64) - 1, None, 1, 1 << 63]},
            {"channel": "i", "values": [-(1 << 63), (1 << 63) - 1, -1, None, 0]},
            {"channel": "n", "values": [-1, -129, -32769, -2147483649, 127]},
        ],
    },
    "integers and decimals": {
        "period_ms": 10,
        "columns": [
            {"channel": "f32", "values": [1, 2.5, -0.0, None, 16777216]},
            {"channel": "f64", "values": [16777217, 0.1, 1e300, 5e-324, None]},
        ],
    },
    "columns of their own times": {
        "period_ms": 1000,
        "columns": [
            {"channel": "a", "values": [1, 2, 3]},
            {"channel": "b", "values": [1, 2, 3], "offsets_ms": [0, 1000, 2000]},
            {"channel": "c", "values": [1, None], "offsets_ms": [-500, 9]},
            {"channel": "d", "values": [5.5], "period_ms": 3},
        ],
    },
    "times that go back": {
        "columns": [{"channel": "x", "values": list(range(9)), "offsets_ms": [9, 7, 7, 8, 1, 2, 2, 9, 0]}]
    },
    "times years apart": {
        "columns": [{"channel": "x", "values": [1, 2, 3], "offsets_ms": [0, 1 << 40, (1 << 40) + 5]}]
    },
    "250 columns": {"period_ms": 60000, "columns": many(250, 3)},
    "4,000 samples": {"period_ms": 100, "columns": many(3, 4000)},
    "a constant for long": {"period_ms": 100, "columns": [{"channel": "x", "values": [7] * 9000}]},
    "two channels of one name": {"period_ms": 1, "columns": many(1, 2) * 2},
}


@pytest.mark.parametrize("content", WORKLOADS.values(), ids=WORKLOADS)
def test_any_workload_is_measured_exactly(content: dict[str, Any], tmp_path: Path) -> None:
    figures = frame.measure(write(tmp_path, content))
    assert figures["exact"] is True
    assert figures["allocated_bytes"] == 0
    assert figures["readings"] == sum(len(column["values"]) for column in content["columns"])
    assert figures["bytes_per_reading"] > 0
    assert list(figures) == ["readings", "bytes_per_reading", "us_per_reading", "allocated_bytes", "exact"]


def test_a_hard_workload_on_both_vms(bits: int, tmp_path: Path) -> None:
    assert frame.measure(write(tmp_path, WORKLOADS["64 bits"]), bits)["exact"] is True


def one(values: Any, **more: Any) -> dict[str, Any]:
    return {"period_ms": 1, "columns": [{"channel": "speed", "values": values, **more}]}


WRONG = {
    "no JSON": ("{", "it is not JSON: .* in line 1, column 2"),
    "not an object": ([1], "a workload is a JSON object"),
    "NaN": ('{"columns": [{"values": [NaN]}]}', "NaN is not a number of JSON"),
    "nested": ("[" * 100000, "nested too deeply"),
    "endless digits": ('{"columns": [{"values": [' + "9" * 5000 + "]}]}", "thousands of digits"),
    "no columns": ({"columns": []}, "`columns` must be a list of at least one column"),
    "a name of a number": ({**one([1]), "name": 5}, "`name` must be text"),
    "a column of a number": ({"columns": [5]}, "column 1 must be an object"),
    "a channel of a number": (one([1], channel=5), "`channel` of column 1 must be text"),
    "no values": (one([]), r"`values` of column 1 \('speed'\) must be a list of at least one sample"),
    "values of text": (one("123"), "`values` of column 1"),
    "a bool": (one([1, True]), r"sample 2 of column 1 \('speed'\) is true; a sample is a number or null"),
    "text": (one([1, "2"]), 'sample 2 of column 1 .* is "2"; a sample is a number or null'),
    "a list": (one([[1]]), r"sample 1 .* is \[1\]"),
    "a large integer": (one([1 << 64]), "no 64-bit integer type holds all of column 1"),
    "a wide range": (one([-1, 1 << 63]), "from -1 to 9223372036854775808"),
    "a large decimal": (json.dumps(one([0])).replace("[0]", "[1e999]"), "too large for a 64-bit float"),
    "a mix that fits nowhere": (one([(1 << 63) + 1, 0.5]), "mixes decimals with 9223372036854775809"),
    "no times": ({"columns": [{"channel": "speed", "values": [1]}]}, "has no times"),
    "a negative period": ({**one([1]), "period_ms": -1}, "`period_ms` of the workload must be whole"),
    "a period of text": ({**one([1]), "period_ms": "1"}, "`period_ms` of the workload must be whole"),
    "too few offsets": (one([1, 2], offsets_ms=[1]), "has 2 values and 1 offsets"),
    "fractional offsets": (one([1], offsets_ms=[0.5]), "must be a list of whole milliseconds"),
    "offsets of null": (one([1, 2], offsets_ms=[1, None]), "must be a list of whole milliseconds"),
    "far offsets": (one([1], offsets_ms=[1 << 60]), "beyond"),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_a_sentence(content: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(WorkloadError, match=message) as wrong:
        frame.measure(path)
    assert str(wrong.value).startswith(f"{path}: ")
    assert "\n" not in str(wrong.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="cannot be read"):
        frame.measure(tmp_path / "missing.json")
    with pytest.raises(WorkloadError, match="cannot be read"):
        frame.measure(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(WorkloadError, match=r"not text in UTF-8|not JSON"):
        frame.measure(tmp_path / "binary.json")
