"""Where things stand in a TOML text: `tomllib` gives values without lines, this gives lines without values.

The text must be one that `tomllib` accepts; only then is the answer right. A path is a tuple of keys and,
inside arrays, indices from 0: ``("node", 0, "bus", 1, "baudrate")``.
"""

import re
import tomllib
from bisect import bisect_right

__all__ = ["Lines", "Path"]

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]*")
# A closing delimiter of three quotes may have up to two quotes of content right before it.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''(?:.*?)'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)


class Lines:
    """The line of every key, table and array element of a valid TOML text.

    `of(path)` is the line (from 1) on which the key, table header or array element stands. What is not
    written down (a missing key) has the line of the nearest thing around it; the whole document has line 1.
    """

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._starts = [0, *(match.end() for match in re.finditer("\n", self._text))]
        self._pos = 0
        self._lines: dict[Path, int] = {}
        self._implied: set[Path] = set()  # tables that so far are only mentioned on the way to another
        self._arrays: dict[Path, int] = {}  # arrays of tables and how many elements they have so far
        self._statements()

    def of(self, path: Path) -> int:
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def __contains__(self, path: Path) -> bool:
        return path in self._lines

    def paths(self) -> set[Path]:
        """Every path that is written down or implied by a longer one."""
        return set(self._lines)

    # The scanner: one method per production, each starting at self._pos and leaving it behind what it took.

    def _statements(self) -> None:
        table: Path = ()
        while True:
            self._take(_BLANK)
            if self._pos >= len(self._text):
                return
            line = self._line()
            if self._text.startswith("[[", self._pos):
                self._pos += 2
                table = self._array_element(self._key(), line)
                self._pos += 2
            elif self._text[self._pos] == "[":
                self._pos += 1
                table = self._table(self._key(), line)
                self._pos += 1
            else:
                self._pair(table)

    def _array_element(self, key: list[str], line: int) -> Path:
        path = (*self._resolve(key[:-1], line), key[-1])
        index = self._arrays.get(path, 0)
        self._arrays[path] = index + 1
        self._note(path, line)
        element = (*path, index)
        self._note(element, line)
        return element

    def _table(self, key: list[str], line: int) -> Path:
        path = (*self._resolve(key[:-1], line), key[-1])
        self._note(path, line)
        return path

    def _resolve(self, key: list[str], line: int) -> Path:
        """The table that a header's leading keys mean: in an array of tables, its latest element."""
        path: Path = ()
        for part in key:
            path = (*path, part)
            self._note(path, line, implied=True)
            if path in self._arrays:
                path = (*path, self._arrays[path] - 1)
        return path

    def _pair(self, table: Path) -> None:
        line = self._line()
        key = self._key()
        path = table
        for part in key[:-1]:
            path = (*path, part)
            self._note(path, line, implied=True)
        path = (*path, key[-1])
        self._note(path, line)
        self._pos += 1  # "="
        self._take(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        """A dotted key, with the blanks around it."""
        parts = []
        while True:
            self._take(_SPACE)
            if self._text[self._pos] in "\"'":
                quoted = self._take(_STRING)
                parts.append(tomllib.loads(f"key = {quoted}")["key"])
            else:
                parts.append(self._take(_BARE_KEY))
            self._take(_SPACE)
            if self._text[self._pos] != ".":
                return parts
            self._pos += 1

    def _value(self, path: Path) -> None:
        first = self._text[self._pos]
        if first in "\"'":
            self._take(_STRING)
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._take(_BARE_VALUE)

    def _array(self, path: Path) -> None:
        self._pos += 1
        index = 0
        while True:
            self._take(_BLANK)
            if self._text[self._pos] == "]":
                self._pos += 1
                return
            element = (*path, index)
            self._note(element, self._line())
            self._value(element)
            index += 1
            self._take(_BLANK)
            if self._text[self._pos] == ",":
                self._pos += 1

    def _inline_table(self, path: Path) -> None:
        self._pos += 1
        while True:
            self._take(_BLANK)
            if self._text[self._pos] == "}":
                self._pos += 1
                return
            self._pair(path)
            self._take(_BLANK)
            if self._text[self._pos] == ",":
                self._pos += 1

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._pos)
        if match is None:
            raise ValueError(f"not TOML that tomllib accepts, at line {self._line()}")
        self._pos = match.end()
        return match.group()

    def _line(self) -> int:
        return bisect_right(self._starts, self._pos)

    def _note(self, path: Path, line: int, implied: bool = False) -> None:
        if path not in self._lines:
            self._lines[path] = line
            if implied:
                self._implied.add(path)
        elif not implied and path in self._implied:
            self._lines[path] = line
            self._implied.discard(path)
