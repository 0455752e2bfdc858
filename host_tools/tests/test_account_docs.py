"""docs/account.md: its commands run, and it explains every reason, in both languages."""

import re
import shlex
from pathlib import Path
from random import Random

import pytest
from gasan.boards.places import ROOT
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode
from gasan.host import account_boots, cli
from gasan.host.account_text import _REASONS
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.i18n import set_language
from gasan.host.store import open_store
from gasan.host.store.ingest import Ingest

PAGES = {"en": ROOT / "docs" / "account.md", "ko": ROOT / "docs" / "account.ko.md"}


def commands(page: Path) -> list[list[str]]:
    """The arguments of each command, as a shell takes them."""
    (block,) = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line, comments=True) for line in block.splitlines()]


@pytest.mark.parametrize("language", PAGES)
def test_the_commands_run(tmp_path: Path, language: str, capsys: pytest.CaptureFixture[str]) -> None:
    node = ScriptedNode(Random(1))
    path = tmp_path / "a.sqlite"
    with open_store(path) as store:
        Ingest(store, ScriptedKeys(node)).store([node.start()])
    assert len(commands(PAGES[language])) == 3
    for program, *arguments in commands(PAGES[language]):
        assert program == ".venv/bin/gasan"
        assert cli.run([*arguments, "--db", str(path), "--lang", language]) == ExitCode.OK
        capsys.readouterr()
    set_language("en")


@pytest.mark.parametrize("language", PAGES)
def test_every_reason_is_explained(language: str) -> None:
    names = (account_boots.CUT, account_boots.ELSEWHERE, account_boots.WIPED, account_boots.REPLACED)
    others = (account_boots.DAMAGED, account_boots.RESTORED, account_boots.GONE)
    reasons = {*names, *others, *(account_boots.reason_name(code) for code in (1, 2, 3))}
    assert reasons == set(_REASONS)
    for reason in reasons:
        assert f"`{reason}`" in PAGES[language].read_text(encoding="utf-8")
