"""What a board runs after boot.py: the node, unless the boot before asked for maintenance.

A maintenance boot leaves the REPL free and the watchdog off, so that mpremote can work; the reset after it is
an ordinary one. It is asked for by the gateway's command, or by Ctrl-C while no gateway has the console.
"""

import gc
import os

try:
    with open("/reset") as f:
        word = f.read()
    os.remove("/reset")
except (OSError, ValueError):  # there is none, or it has rotted
    word = ""

if word == "maintenance":
    print("gasan: maintenance, the node is not started; machine.reset() starts it")
    try:
        os.remove("/crash")  # somebody looks after it: crashes are counted anew
    except OSError:
        pass
else:
    # What loading leaves behind is collected at once, else it is strewn between what stays, and the large
    # buffers find no place. Leaves first: an import within an import stands on the stack of the outer one
    # (rp2 has 8 KB).
    gc.threshold(gc.mem_free() // 32)
    try:
        for name in ("cbor", "cose", "columns", "encoder", "frame", "session"):
            __import__("gasan.wire." + name)
        from gasan.node import app
    except Exception as e:  # a file is missing or damaged
        from gasan.node.stuck import stuck

        stuck(e)
    app.run(word)
    try:  # Ctrl-C has ended it: the reset that starts it again is not the watchdog's, though rp2 says so
        with open("/reset", "w") as f:
            f.write("stopped")
    except OSError:
        pass
