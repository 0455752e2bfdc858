"""Start a board: stand-ins first, the flash image as /, then boot.py, main.py and the REPL.

The supervisor runs this on the VM with arguments of the form name=value (see _FACTS). What the stand-ins
take of the heap is told before the firmware starts.
"""

import gc
import sys

import control
import vfs

# name: its default; the type says how the argument is read.
_FACTS = {
    "family": "virtual",
    "platform": "linux",
    "machine": "Virtual board with unix VM",
    "image": "",
    "levels": "",
    "count": "",
    "block": 4096,
    "blocks": 0,
    "page": 256,
    "raw_fd": 1,
    "out_fd": -1,
    "wait_fd": -1,
    "uid": "",
    "freq": 0,
    "cause": 1,
    "wdt_min": 1,
    "wdt_max": 8388,
    "epoch": 1970,
    "rtc": 2000,
    "wifi": 0,
    "ssid": "",
    "password": "",
    "ble": 0,
    "mode": "main",  # or "raw" (raw REPL after a soft reset, without main.py) or "measure"
    "cut": "",  # operation:mode:argument
}


def _read_arguments():
    """The facts, and {UART id: terminal}."""
    facts = dict(_FACTS)
    ports = {}
    for argument in sys.argv[1:]:
        name, _, value = argument.partition("=")
        if name[:4] == "uart":
            ports[int(name[4:])] = value
        elif name in facts:
            facts[name] = int(value) if isinstance(facts[name], int) else value
        else:
            raise ValueError("no such fact: " + name)
    uid = facts["uid"]
    facts["uid"] = bytes(int(uid[i : i + 2], 16) for i in range(0, len(uid), 2))
    return facts, ports


def _prepare(facts, ports):
    """Put the stand-ins in place and mount the flash. Returns the REPL, which firmware cannot import."""
    import console

    host = vfs.VfsPosix("/")
    board_sys = console.install(facts["raw_fd"], facts["platform"], facts["machine"])
    import time

    time.start(facts["epoch"], facts["rtc"])
    import flash
    import levels

    if facts["levels"]:
        levels.open_file(host.open(facts["levels"], "rb"))
    import machine
    import uart

    machine.set_facts(facts)
    uart.set_ports(host, ports)
    if facts["wifi"]:
        import network

        network.set_air(facts["ssid"], facts["password"], facts["uid"][:6], facts["family"])
        if facts["wifi"] == 2:  # the only way out
            import socket  # noqa: F401
    if facts["ble"]:
        import bluetooth  # noqa: F401
    import repl

    if facts["mode"] == "measure":
        return repl
    count = host.open(facts["count"], "r+b") if facts["count"] else None
    device = flash.Flash(
        host.open(facts["image"], "r+b"), facts["block"], facts["blocks"], facts["page"], count
    )
    if facts["cut"]:
        operation, mode, argument = facts["cut"].split(":")
        device.cut(int(operation), int(mode), int(argument), lambda: control.halt(b"C\n"))
    vfs.umount("/")
    board_sys.path[:] = ["", "/lib", ".frozen"]
    try:
        disk = vfs.VfsLfs2(device, progsize=facts["page"])
    except OSError:  # as the ports' own boot code does with a flash that holds no file system
        vfs.VfsLfs2.mkfs(device, progsize=facts["page"])
        disk = vfs.VfsLfs2(device, progsize=facts["page"])
    vfs.mount(disk, "/")
    for name in ("control", "console", "uart", "levels", "repl", "run", "flash"):
        sys.modules.pop(name, None)
    return repl


def _run_file(name, scope):
    """Run a file as a board does; False if it ended with an exception (printed)."""
    import os

    try:
        os.stat(name)
    except OSError:
        return True
    try:
        execfile(name, scope)  # noqa: F821 - MicroPython has execfile
    except SystemExit:
        raise
    except BaseException as e:
        sys.print_exception(e)
        return False
    return True


def main():
    facts, ports = _read_arguments()
    if facts["out_fd"] >= 0:
        control.open_line(facts["out_fd"], facts["wait_fd"])
    repl = _prepare(facts, ports)
    del ports
    import micropython

    raw = facts["mode"] == "raw"
    gc.collect()
    control.say(b"H %d %d\n" % (gc.mem_alloc(), gc.mem_alloc() + gc.mem_free()))
    if facts["mode"] == "measure":
        return
    scope = {"__name__": "__main__"}
    micropython.kbd_intr(3)
    try:
        if _run_file("boot.py", scope) and not raw:
            control.say(b"M main\n")
            _run_file("main.py", scope)
        gc.collect()
        control.say(b"M repl\n")
        raw = repl.run(scope, raw)
    except SystemExit:
        pass
    sys.stdout.write("MPY: soft reboot\n")
    scope.clear()
    sys.modules.clear()
    gc.collect()  # a soft reset runs the finalisers: files that were left open are closed
    control.say(b"R soft-raw\n" if raw else b"R soft\n")


main()
