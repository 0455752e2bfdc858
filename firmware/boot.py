"""What a board runs first, also when mpremote restarts its interpreter: nothing that could get in the way."""

import micropython

# Memory for the traceback of an exception in an interrupt handler, where none can be allocated. The unix VM,
# which has no such handlers, lacks it.
if hasattr(micropython, "alloc_emergency_exception_buf"):
    micropython.alloc_emergency_exception_buf(100)
