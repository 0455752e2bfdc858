"""What several commands print."""

import json

import click
from gasan.host.account import Account
from gasan.host.account_text import account_text

__all__ = ["print_account"]


def print_account(account: Account, as_json: bool) -> None:
    """The account on stdout: one JSON object, or words and figures."""
    click.echo(json.dumps(account.as_dict(), ensure_ascii=False) if as_json else account_text(account))
