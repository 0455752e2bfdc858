"""apt with a state of its own: fetches packages of any Debian suite and architecture, verified, and leaves
the system's lists and packages as they are.

The mirror is the one that the machine's own apt sources name; Debian's keyring checks what comes from it.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TOOLS", "AptError", "PrivateApt", "keyring", "mirrors", "missing_tools", "unpack"]

TOOLS = ("apt-get", "apt-config", "dpkg", "dpkg-deb")
"""The programs that are needed."""

_KEYRINGS = ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp")
_KEYRING_FOLDER = Path("/usr/share/keyrings")


class AptError(Exception):
    """apt could not do it; the message is one sentence."""


@dataclass(frozen=True)
class PrivateApt:
    """One suite and one architecture. ``sources``: source packages are wanted, too."""

    state: Path
    mirror: str
    keyring: str
    suite: str
    arch: str
    sources: bool = False

    def update(self) -> None:
        """Make the state's folders and fetch the lists. Raises AptError."""
        for folder in ("lists/partial", "cache/archives/partial", "etc"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        (self.state / "status").touch()
        options = f"arch={self.arch} signed-by={self.keyring} target=Packages"
        lines = [f"deb [{options}] {self.mirror} {self.suite} main"]
        if self.sources:
            lines.append(f"deb-src [signed-by={self.keyring} target=Sources] {self.mirror} {self.suite} main")
        self._list.write_text("\n".join(lines) + "\n")
        self.get("update")

    def get(self, *args: str, folder: Path | None = None) -> None:
        """Run apt-get (in ``folder``); raises AptError with its first complaint."""
        settings = {
            "Dir::State": self.state,
            "Dir::State::lists": self.state / "lists",
            "Dir::State::status": self.state / "status",
            "Dir::Cache": self.state / "cache",
            "Dir::Etc::sourcelist": self._list,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Architecture": self.arch,
            "APT::Architectures::": self.arch,
            "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Debug::NoLocking": "1",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        done = subprocess.run(
            ["apt-get", "-q", *options, *args],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
        if done.returncode != 0:
            lines = [line[3:] for line in done.stderr.splitlines() if line.startswith(("E: ", "W: "))]
            raise AptError(lines[0] if lines else f"apt-get ended with status {done.returncode}")

    def fetch_with_dependencies(self, package: str) -> list[Path]:
        """A package and what it depends on."""
        self.get("install", "--yes", "--download-only", "--no-install-recommends", package)
        return sorted((self.state / "cache" / "archives").glob("*.deb"))

    def remove(self) -> None:
        shutil.rmtree(self.state, ignore_errors=True)

    @property
    def _list(self) -> Path:
        return self.state / "etc" / "sources.list"


def missing_tools(tools: Sequence[str] = TOOLS) -> list[str]:
    """Those of the programs that the machine lacks."""
    return [tool for tool in tools if shutil.which(tool) is None]


def unpack(package: Path, root: Path) -> None:
    """Unpack a .deb file below ``root``. Raises AptError."""
    done = subprocess.run(
        ["dpkg-deb", "-x", str(package), str(root)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise AptError(f"dpkg-deb could not unpack {package.name}: {done.stderr.strip()}")


def mirrors() -> list[str]:
    """The Debian archives that the machine's own apt sources name; what they are is checked by signature.

    Raises AptError.
    """
    targets = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)|$(ORIGIN)|$(LABEL)",
        "Identifier: Packages",
    ]
    found = []
    # Without lists, as on a fresh image, only the addresses are known.
    for extra in ([], ["--no-release-info"]):
        done = subprocess.run([*targets, *extra], capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            uri, origin, label = line.rsplit("|", 2)
            known = (origin, label) == ("Debian", "Debian")
            if known or (origin.startswith("$") and "security" not in uri):
                found.append(uri)
        if found:
            return list(dict.fromkeys(found))
    raise AptError("This machine's apt knows no Debian archive: add one to its sources")


def keyring() -> str:
    """The file with Debian's signing keys. Raises AptError."""
    for name in _KEYRINGS:
        if (_KEYRING_FOLDER / name).is_file():
            return str(_KEYRING_FOLDER / name)
    raise AptError("Debian's signatures cannot be checked: install the package `debian-archive-keyring`")
