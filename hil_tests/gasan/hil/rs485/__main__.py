"""``python -m gasan.hil.rs485``: a relay in the foreground."""

from gasan.hil.rs485.relay import main

main()
