"""Lines of TOML: every path that tomllib knows has a line, and it is the right one."""

import random
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from gasan.host.toml_lines import Lines, Path


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _leaves(child, (*path, index))
    else:
        yield path, value


def _all_paths(value: Any, path: Path = ()) -> set[Path]:
    found = {path} if path else set()
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        found |= _all_paths(child, (*path, key))
    return found


# Every integer in these texts is the number of the line on which its key (or, in an array, itself) stands.
NASTY = {
    "plain": "a = 1\nb = 2\n\n# c = 9\nc = 5",
    "crlf": "a = 1\r\n\r\nb = 3\r\n[t]\r\nc = 5\r\n",
    "tables": "[a]\nx = 2\n[a.b]\nx = 4\n[c.d.e]\nx = 6\n[c]\nx = 8\n[c.d]\nx = 10",
    "arrays of tables": "[[n]]\nx = 2\n[[n.b]]\nx = 4\n[[n.b]]\nx = 6\n[n.b.t]\nx = 8\n[[n]]\nx = 10",
    "array of tables under a table": "[s]\nx = 2\n[[s.n]]\nx = 4\n[[s.n]]\nx = 6\n[s.n.deep.er]\nx = 8",
    "headers with blanks": "[ a . b ]\nx = 2\n[[ c.'d e' . \"f\" ]]\nx = 4\n  [g] # [h]\n\tx = 6",
    "dotted keys": "a.b.c = 1\na.b.d = 2\na . e = 3\n[t]\nu.v = 5\nu.'w.x' = 6",
    "quoted keys": '"a b" = 1\n\'c = 2\' = 2\n"e\\"f" = 3\n"\\u00e9" = 4\n"" = 5\n\'#\' = 6\n"[x]" = 7',
    "numeric keys": "1 = 1\n2.3 = 2\n[4.5]\n6 = 4",
    "multi-line basic": 'a = 1\ns = """\nb = 9\n[no]\n\\"""\n# no\n"""\nb = 8',
    "multi-line literal": "a = 1\ns = '''\nb = 9\n\\'''\nb = 5",
    "quotes before the end": 's = """a""""\nb = 2\nt = """"x"""""\nc = 4\nu = \'\'\'y\'\'\'\'\'\nd = 6',
    "empty strings": "s = \"\"\na = 2\nt = ''\nb = 4\nu = \"\"\"\"\"\"\nc = 6\nv = ''''''\nd = 8",
    "escapes": 's = "\\\\"\na = 2\nt = "\\"# ="\nb = 4\nu = "\\\\\\""\nc = 6',
    "line continuation": 's = """a \\\n   \n   b"""\na = 4',
    "hash in strings": "s = '#' # c = 9\na = 2\nt = \"]},#\"\nb = 4",
    "arrays": "a = [1, 1,\n 2,\n # 9\n\n 5 # 6\n , 6, [6\n]]\nb = 8",
    "trailing commas": "a = [\n2,\n3,\n]\nb = 5",
    "nested arrays": "a = [[\n2], [2,\n3], []]\nb = 4",
    "arrays of strings": "a = ['x]', \"y,\", '''\n''']\nb = 3",
    "inline tables": "a = {b = 1, c.d = 1, 'e f' = {g = 1}}\nh = {}\ni = 3",
    "array of inline tables": "a = [{x = 1},\n{x = 2, y = [2,\n3]},\n{}]\nb = 5",
    "inline table over lines": 'a = {s = """\n""", b = 2, c = [\n3]}\nd = 4',
    "dates": "d = 1979-05-27 07:32:00 # x\na = 2\nt = [07:32:00, 1979-05-27T00:32:00.5-07:00]\nb = 4",
    "other values": "f = 1e6\ng = -inf\nh = true\na = 4\ni = +0.5\nj = 0x6\n",
    "no newline at the end": "[t]\na = 2",
    "hangul": '"전압" = 1\ns = "값 # [x]"\n["기기"]\na = 4',
}


@pytest.mark.parametrize("name", NASTY)
def test_nasty_texts(name: str) -> None:
    text = NASTY[name]
    data = tomllib.loads(text)
    lines = Lines(text)
    assert lines.paths() == _all_paths(data)
    numbers = [(path, value) for path, value in _leaves(data) if type(value) is int]
    assert numbers
    assert {path: lines.of(path) for path, _ in numbers} == dict(numbers)


def test_headers_and_missing_keys() -> None:
    lines = Lines("\n[site]\nname = 'x'\n\n[[node]]\n[[node.bus]]\na = 1\n\n[[node]]\n")
    assert lines.of(("site",)) == 2
    assert lines.of(("node",)) == 5
    assert lines.of(("node", 0)) == 5
    assert lines.of(("node", 0, "bus", 0, "baudrate")) == 6
    assert lines.of(("node", 1, "name")) == 9
    assert lines.of(("nothing", "here")) == 1
    assert ("node", 1, "name") not in lines
    assert ("node", 1) in lines


def test_a_table_named_late_has_the_line_of_its_own_header() -> None:
    lines = Lines("[a.b]\n\n[a]\nx = 4\n")
    assert lines.of(("a",)) == 3
    assert lines.of(("a", "b")) == 1


class _Writer:
    """Writes random TOML in which each integer is the number of the line that it must be found on."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.text = ""
        self.names = 0

    def line(self) -> int:
        return self.text.count("\n") + 1

    def key(self) -> str:
        self.names += 1
        name = f"k{self.names}"
        return self.rng.choice([name, f'"{name} # = ["', f"'{name}]\"'", f'"{name}\\"\\u0041"'])

    def blank(self) -> None:
        self.text += self.rng.choice(["", " ", "\t"])

    def skip_lines(self) -> None:
        self.text += self.rng.choice(["", "", "\n", "# [x] = '''\n", " \n\n"])

    def value(self, depth: int, key_line: int | None) -> None:
        """An integer value equals `key_line`, or where it is written itself when that is None (an array)."""
        kind = self.rng.randrange(8 if depth < 3 else 6)
        if kind < 3:
            self.text += str(self.line() if key_line is None else key_line)
        elif kind < 6:
            self.text += self.rng.choice(
                ['"a#\\"]"', "'b}\\'", '"""\n"" \\""""', "'''\n''\n'''", "1.5", "true", "1979-05-27 07:32:00"]
            )
        elif kind == 6:
            self.text += "["
            for _ in range(self.rng.randrange(4)):
                self.skip_lines()
                self.value(depth + 1, None)
                self.skip_lines()
                self.text += ","
            self.skip_lines()
            self.text += "]"
        else:
            self.text += "{"
            for index in range(self.rng.randrange(3)):
                self.text += ", " if index else ""
                self.pair(depth + 1)
            self.text += "}"

    def pair(self, depth: int) -> None:
        line = self.line()
        self.text += self.key()
        if self.rng.random() < 0.2:
            self.text += " . " + self.key()
        self.blank()
        self.text += "="
        self.blank()
        self.value(depth, line)

    def document(self) -> str:
        arrays: list[str] = []
        for _ in range(self.rng.randrange(1, 8)):
            form = self.rng.randrange(4)
            if form == 0:
                self.text += f"[{self.key()} . {self.key()}]\n"
            elif form == 1 or not arrays:
                arrays.append(self.key())
                self.text += f"[[ {arrays[-1]} ]]\n"
            elif form == 2:
                self.text += f"[[{self.rng.choice(arrays)}]]\n"
            else:
                self.text += f"[[{self.rng.choice(arrays)}.{self.key()}]]\n"
            for _ in range(self.rng.randrange(4)):
                self.skip_lines()
                self.pair(0)
                self.text += self.rng.choice(["\n", " # = [\n"])
            self.skip_lines()
        return self.text


def test_random_texts(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(1500):
        text = _Writer(rng).document()
        data = tomllib.loads(text)
        lines = Lines(text)
        assert lines.paths() == _all_paths(data), text
        for path, value in _leaves(data):
            if type(value) is int:
                assert lines.of(path) == value, (path, text)
