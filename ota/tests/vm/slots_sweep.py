"""Cut the power at every flash operation of a config update, start again, and see what is there.

Runs on the VM, on real littlefs over the stand-in flash. Arguments: the folder of the stand-ins, the seed,
the name of a deliberate mistake ("none" for none). Prints the number of cuts, or the first broken invariant.
"""

import io
import os
import sys

import vfs

sys.path.insert(0, sys.argv[1])
import flash

sys.path.pop(0)

from gasan.ota import slots

SEED = int(sys.argv[2])
MISTAKE = sys.argv[3]
BLOCK, BLOCKS, PAGE = 4096, 24, 256
OLD = b"old" * 300
NEW = bytes([i * 7 & 0xFF for i in range(1500)])
OTHER = b"other" * 200
NAME = slots.digest(NEW)


if MISTAKE == "slot in use overwritten":
    slots.Slots._other = lambda self: self._active or 0
elif MISTAKE == "trial not noted":
    slots.Slots._save = lambda self, active, name, state, save=slots.Slots._save: save(
        self, active, name, slots.ARMED if state == slots.TRIAL else state
    )
elif MISTAKE == "way back overwritten":
    slots.Slots.receive = lambda self, *piece, receive=slots.Slots.receive: as_stable(self, receive, piece)


def as_stable(self, receive, piece):
    state, self.state = self.state, slots.STABLE
    answer = receive(self, *piece)
    self.state = state
    return answer


def mount(image):
    """Mount a copy of the image; returns (its store, its flash)."""
    store = io.BytesIO(image)
    f = flash.Flash(store, BLOCK, BLOCKS, PAGE)
    vfs.mount(vfs.VfsLfs2(f, progsize=PAGE, readsize=32), "/f")
    return store, f


def unmount(store):
    vfs.umount("/f")
    return store.getvalue()


def receive(s, name, content):
    at = 0
    answer = slots.MORE
    while answer == slots.MORE:
        at, answer = s.receive(name, len(content), at, content[at : at + 128])
    return answer == slots.COMPLETE


def start():
    s = slots.Slots("/f/cfg")
    return s, s.start()


def update():
    """Bring NEW into the other slot and activate it."""
    s, _ = start()
    return receive(s, NAME, NEW) and (s.in_use(NAME) or s.activate(NAME))


def start_and_confirm():
    s, _ = start()
    s.confirm()
    return s.state == slots.STABLE


def start_and_receive():
    """During a trial nothing is taken, since it would go where the way back is."""
    s, _ = start()
    return not receive(s, slots.digest(OTHER), OTHER)


def check(ok, what):
    if not ok:
        print("broken: %s: %s" % (where, what))
        sys.exit(0)


def look(image, confirming):
    """The invariants at the first start after a cut, and that an update works from there."""
    store, _ = mount(image)
    try:
        s, content = start()
        check(content == OLD or content == NEW, "a start finds %s" % content)
        if content == NEW and s.state == slots.TRIAL:
            s, content = start()
            check(content == OLD and s.state == slots.ROLLED_BACK, "a trial that was reset does not go back")
        elif content == NEW:
            check(confirming, "the new content is used without a trial")
        check(update(), "an update is refused")
        check(start_and_confirm(), "a trial cannot be confirmed")
        s, content = start()
        check(content == NEW and s.state == slots.STABLE, "an update does not come up")
    except OSError as e:
        check(False, "a start raises %r" % e)
    unmount(store)


def sweep(name, image, step, confirming=False):
    """Run ``step`` on the image, cut at each operation in each way; returns the image after an uncut run."""
    global where, cuts
    where = name
    store, f = mount(image)
    check(step(), "the uncut run fails")
    after = unmount(store)
    operations = f.operations
    look(after, confirming)
    for k in range(operations):
        for mode, arg in (
            (flash.BEFORE, 0),
            (flash.TORN, 1 + (SEED + 37 * k) % (PAGE - 1)),
            (flash.BITS, SEED + k),
            (flash.AFTER, 0),
        ):
            where = "%s, operation %d of %d, mode %d, seed %d" % (name, k, operations, mode, SEED)
            store, f = mount(image)
            f.cut(k, mode, arg)
            try:
                step()
            except OSError:
                pass
            check(f.dead, "the cut did not happen")
            cuts += 1
            look(unmount(store), confirming)
    return after


cuts = 0
where = "start"
empty = io.BytesIO(b"\xff" * (BLOCK * BLOCKS))
vfs.VfsLfs2.mkfs(flash.Flash(empty, BLOCK, BLOCKS, PAGE), progsize=PAGE, readsize=32)
store, _ = mount(empty.getvalue())
os.mkdir("/f/cfg")
with open("/f/cfg/a", "wb") as f:
    f.write(slots.pack(OLD))
image = unmount(store)

armed = sweep("update", image, update)
tried = sweep("first start", armed, start)
sweep("confirmation", armed, start_and_confirm, True)
sweep("new content during a trial", armed, start_and_receive)
back = sweep("rollback", tried, start)
sweep("update after a rollback", back, update)
print("cuts", cuts)
