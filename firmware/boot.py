"""What a board runs first, also when mpremote restarts its interpreter: nothing that could get in the way."""

import micropython

# So that an exception in an interrupt handler, where nothing can be allocated, has a traceback.
micropython.alloc_emergency_exception_buf(100)
