# Frozen into the firmware: the port's own modules and asyncio, as on a downloaded firmware. The node's
# modules are not: they are .mpy files in the board's file system.
freeze("$(PORT_DIR)/modules")
include("$(MPY_DIR)/extmod/asyncio")
