"""What several commands print."""

import json

import click
from gasan.host.account import Account
from gasan.host.account_text import account_text

__all__ = ["print_account"]


def print_account(account: Account, as_json: bool, *, details: bool = False) -> None:
    """The account on stdout: one JSON object, or words and figures; details: of each channel too."""
    if as_json:
        click.echo(json.dumps(account.as_dict(details=details), ensure_ascii=False))
    else:
        click.echo(account_text(account, details=details))
