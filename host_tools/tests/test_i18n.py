"""Every message has a Korean translation with the same figures in it; the language is chosen as promised."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from gasan.host import catalogue, i18n, wording
from gasan.host.i18n import _, catalogue_path, ngettext, set_language
from gasan.wire import quality

HANGUL = re.compile("[가-힣]")
# Nothing in these is a word.
WORDLESS = {" ({start} to {end})", "{node}: {n} readings, {reason}"}


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    set_language("en")


@pytest.fixture(scope="module")
def korean() -> Catalog:
    with catalogue_path("ko").open("rb") as file:
        return read_po(file, locale="ko", abort_invalid=True)


def _ids(messages: Catalog) -> set[str]:
    return {text for message in messages if message.id for text in _texts(message.id)}


def _texts(value: str | tuple[str, ...] | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w*)\}", text))


def test_the_catalogues_hold_exactly_the_messages_of_the_code(korean: Catalog) -> None:
    template = catalogue.template()
    with (Path(i18n.__file__).parent / "locale" / "gasan.pot").open("rb") as file:
        written = read_po(file)
    assert _ids(written) == _ids(template), "run: python -m gasan.host.catalogue"
    assert _ids(korean) == _ids(template), "run: python -m gasan.host.catalogue"


def test_no_message_hides_in_an_f_string() -> None:
    """Where babel does not find it, so that it would stay English."""
    for file in sorted(Path(i18n.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                for inner in ast.walk(node):
                    hidden = (
                        isinstance(inner, ast.Call)
                        and isinstance(inner.func, ast.Name)
                        and inner.func.id in ("_", "ngettext")
                        and isinstance(inner.args[0], ast.Constant)
                    )
                    assert not hidden, f"{file}:{node.lineno}"


def test_every_message_is_translated(korean: Catalog) -> None:
    for message in korean:
        if not message.id:
            continue
        assert not message.fuzzy, message.id
        for text in _texts(message.string):
            assert text, f"not translated: {message.id}"
            assert HANGUL.search(text) or text.startswith("예: ") or message.id in WORDLESS, text


def test_translations_keep_the_placeholders(korean: Catalog) -> None:
    for message in korean:
        wanted = [_placeholders(text) for text in _texts(message.id)]
        for text in _texts(message.string):
            if message.id:
                assert _placeholders(text) in wanted, (message.id, text)


def test_messages_are_whole_strings() -> None:
    """A formatted string inside `_()` would never be found in the catalogue."""
    host = Path(i18n.__file__).parent
    for file in host.rglob("*.py"):
        assert not re.search(r"""\b(_|N_|ngettext)\(\s*(f["']|[a-z_]+\s*\+)""", file.read_text("utf-8")), file


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko"}, "ko"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "C", "LC_MESSAGES": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": ""}, "ko"),
    ],
)
def test_language_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], language: str
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert set_language(None) == language


def test_messages_in_both_languages() -> None:
    set_language("ko")
    assert _("no answer") == "응답 없음"
    assert ngettext("{n} mistake in {file}", "{n} mistakes in {file}", 2) == "{file}: 틀린 곳 {n}개"
    set_language("en")
    assert _("no answer") == "no answer"
    assert ngettext("{n} mistake in {file}", "{n} mistakes in {file}", 2) == "{n} mistakes in {file}"


def test_every_quality_has_words() -> None:
    set_language("ko")
    for code in (*range(4), 32, 33, 64, 65, 66, 68, 69, 70, 80, 81, 82, 83, 84, 86):
        name = quality.name(code)
        assert HANGUL.search(wording.quality_text(name)), name
    assert wording.quality_text("bad/exception-9") == "bad/exception-9"


@pytest.mark.parametrize("other", ["사이트 파일", "회선", "라인", "프로필"])
def test_one_korean_word_for_one_thing(korean: Catalog, other: str) -> None:
    """The site file is 현장 파일, a line 선로, a profile 프로파일."""
    assert [
        text for message in korean for text in _texts(message.string) if message.id and other in text
    ] == []
