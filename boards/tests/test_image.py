"""Flash images are written by the VM's own littlefs, whole or not at all; the manifest is read, not run."""

from pathlib import Path

import pytest
from gasan.boards import facts
from gasan.boards.image import (
    ImageError,
    ManifestError,
    build_image,
    compile_mpy,
    firmware_files,
    list_files,
    read_file,
    remove_file,
    write_files,
)
from gasan.boards.vm import Vm


@pytest.mark.parametrize("name", ["virtual", "rpi_pico", "esp32_generic"])
def test_what_is_put_in_comes_out(vm: Vm, tmp_path: Path, name: str) -> None:
    board = facts.load(name)
    image = tmp_path / "flash.img"
    files = {
        "/boot.py": b"print('boot')",
        "/lib/gasan/wire/frame.mpy": bytes(range(256)) * 41,
        "/secret/key": b"\x00" * 32,
        "/empty": b"",
    }
    build_image(image, files, board, vm)
    assert image.stat().st_size == board.flash.fs_size
    assert list_files(image, board, vm) == {path: len(content) for path, content in files.items()}
    for path, content in files.items():
        assert read_file(image, path, board, vm) == content

    write_files(image, {"/boot.py": b"new", "/lib/gasan/wire/link.mpy": b"x"}, board, vm)
    remove_file(image, "/secret/key", board, vm)
    assert read_file(image, "/boot.py") == b"new"  # the geometry is in the image, too
    assert set(list_files(image)) == {
        "/boot.py",
        "/empty",
        "/lib/gasan/wire/frame.mpy",
        "/lib/gasan/wire/link.mpy",
    }
    with pytest.raises(FileNotFoundError):
        read_file(image, "/secret/key")


def test_a_failure_leaves_the_old_image(vm: Vm, tmp_path: Path) -> None:
    board = facts.load("virtual")
    image = tmp_path / "flash.img"
    build_image(image, {"/a": b"1"}, board, vm)
    before = image.read_bytes()
    with pytest.raises(ImageError, match="put failed"):
        write_files(image, {"/big": bytes(2 * board.flash.fs_size)}, board, vm)
    assert image.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["flash.img"]
    with pytest.raises(ImageError, match="list failed"):
        list_files(Path(__file__))


@pytest.mark.parametrize("path", ["/", "", "/a/../../b"])
def test_paths_stay_inside(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        write_files(tmp_path / "flash.img", {path: b""}, facts.load("virtual"))


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    """A firmware folder with a package beside it."""
    folder = tmp_path / "firmware"
    package = tmp_path / "protocols" / "pack" / "age"
    for path in (folder, package):
        path.mkdir(parents=True)
    (folder / "boot.py").write_text("boot = 1\n")
    (folder / "main.py").write_text("main = 1\n")
    (folder / "one.py").write_text("one = 1\n")
    for name in ("a.py", "b.py"):
        (package / name).write_text(f"name = {name!r}\n")
    return folder


def test_manifest(firmware: Path) -> None:
    (firmware / "manifest.py").write_text(
        '"""What goes on a board."""\n'
        'metadata(version="1")\n'
        'module("one.py")\n'
        'package("pack/age", ("a.py",), base_path="../protocols")\n'
    )
    files = firmware_files(firmware=firmware)
    assert set(files) == {"/boot.py", "/main.py", "/lib/one.mpy", "/lib/pack/age/a.mpy"}
    assert files["/boot.py"] == b"boot = 1\n" and files["/lib/one.mpy"][:1] == b"M"
    (firmware / "manifest.py").write_text('package("pack/age", base_path="../protocols")')
    plain = firmware_files(mpy=False, firmware=firmware)
    assert set(plain) == {"/boot.py", "/main.py", "/lib/pack/age/a.py", "/lib/pack/age/b.py"}


def test_a_manifest_must_not_name_what_is_not_there(firmware: Path) -> None:
    (firmware / "manifest.py").write_text('package("pack/age", ("c.py",), base_path="../protocols")')
    with pytest.raises(ManifestError, match=r"pack/age/c\.py is not there"):
        firmware_files(firmware=firmware)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("import os", "only calls"),
        ("module(open('x'))", "only constant"),
        ("freeze('x')", r"freeze\(\) is not known"),
        ("(lambda: 1)()", "only calls"),
    ],
)
def test_a_manifest_is_not_executed(firmware: Path, line: str, why: str) -> None:
    (firmware / "manifest.py").write_text(f"module('one.py')\n{line}\n")
    with pytest.raises(ManifestError, match=rf"manifest\.py:2: {why}"):
        firmware_files(firmware=firmware)


def test_what_does_not_compile_is_named(tmp_path: Path) -> None:
    source = tmp_path / "wrong.py"
    source.write_text("def f(:\n")
    with pytest.raises(ImageError, match=r"wrong\.py does not compile"):
        compile_mpy(source, "wrong.py")
