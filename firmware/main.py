"""What a board runs after boot.py: the node, unless the boot before asked for maintenance.

A maintenance boot leaves the REPL free and the watchdog off, so that mpremote can work; the reset after it is an
ordinary one. It is asked for by the gateway's command, or by Ctrl-C while no gateway has the console.
"""

import os

try:
    with open("/reset") as f:
        word = f.read()
    os.remove("/reset")
except OSError:
    word = ""

if word == "maintenance":
    print("gasan: maintenance, the node is not started; machine.reset() starts it")
else:
    from gasan.node import app

    app.run(word)
