"""What goes into a firmware image, for MicroPython's own build: make FROZEN_MANIFEST=.../firmware/manifest.py

On a board without a build of its own the same files are copied to / and /lib as .mpy.
"""

include("$(PORT_DIR)/boards/manifest.py")  # noqa: F821

package("gasan", files=("node/__init__.py",), base_path=".")  # noqa: F821
