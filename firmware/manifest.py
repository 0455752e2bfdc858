"""What goes on a node: MicroPython's own manifest format, read by its build and by gasan.boards.image.

    make -C ports/rp2 FROZEN_MANIFEST=.../firmware/manifest.py

Without such a build the same modules are copied to /lib as .mpy; boot.py and main.py are copied to / in any
case. On a node a module is loaded only when its config needs it.
"""

package(
    "gasan/node",
    (
        "__init__.py",
        "app.py",
        "batcher.py",
        "begin.py",
        "ble.py",
        "ble_formats.py",
        "ble_refusals.py",
        "clock.py",
        "config.py",
        "console.py",
        "end.py",
        "health.py",
        "jobs.py",
        "link.py",
        "log.py",
        "losses.py",
        "modbus_rtu.py",
        "modbus_tcp.py",
        "orders.py",
        "plan.py",
        "poll.py",
        "recover.py",
        "sampler.py",
        "secrets.py",
        "sources.py",
        "spool.py",
    ),
)
package("gasan/ota", ("__init__.py", "slots.py"), base_path="../ota")
package(
    "gasan/wire",
    (
        "__init__.py",
        "bthome.py",
        "bthome_sealed.py",
        "cbor.py",
        "ccm.py",
        "cobs.py",
        "columns.py",
        "cose.py",
        "encoder.py",
        "fields.py",
        "frame.py",
        "layout.py",
        "lockbox.py",
        "mibeacon.py",
        "modbus.py",
        "modbus_read.py",
        "modbus_rtu.py",
        "modbus_tcp.py",
        "quality.py",
        "session.py",
    ),
    base_path="../protocols",
)
