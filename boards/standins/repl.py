"""The REPL that a board offers when main.py has ended: friendly, paste and raw mode, as mpremote needs it.

Raw-paste mode is declined, which is what hosts then expect of an older MicroPython.
"""

import gc
import sys

import micropython

_CTRL_A = 1
_CTRL_B = 2
_CTRL_C = 3
_CTRL_D = 4
_CTRL_E = 5

_one = bytearray(1)


def _key():
    sys.stdin.buffer.readinto(_one)
    return _one[0]


def _put(text):
    sys.stdout.write(text)


def run(scope, raw):
    """Serve the console until a soft reset is asked for; True if that was in raw mode."""
    micropython.kbd_intr(-1)
    while True:
        if raw:
            if _raw(scope):
                return True
        elif _friendly(scope):
            return False
        raw = not raw


def _raw(scope):
    """True: soft reset; False: friendly mode."""
    _put("raw REPL; CTRL-B to exit\n")
    code = bytearray()
    _put(">")
    while True:
        key = _key()
        if key == _CTRL_A:
            if code == b"\x05":  # start of raw-paste mode: understood, not supported
                code = bytearray()
                _put("R\x00")
                continue
            code = bytearray()
            _put("raw REPL; CTRL-B to exit\n>")
        elif key == _CTRL_B:
            return False
        elif key == _CTRL_C:
            code = bytearray()
        elif key == _CTRL_D:
            if not code:
                return True
            _put("OK")
            error = _execute(code, scope, "exec")
            code = bytearray()
            _put("\x04")
            if error:
                sys.print_exception(error)
            error = None
            gc.collect()
            _put("\x04>")
        elif code == b"\x05" and key == 65:
            pass  # the A of raw-paste; the Ctrl-A follows
        else:
            code.append(key)


def _friendly(scope):
    """True: soft reset; False: raw mode."""
    version = ".".join(str(n) for n in sys.implementation.version[:3])
    _put("MicroPython v%s; %s\n" % (version, sys.implementation._machine))
    _put('Type "help()" for more information.\n')
    lines = ""
    while True:
        _put("... " if lines else ">>> ")
        line, end = _line()
        if end == _CTRL_A:
            _put("\n")
            return False
        if end == _CTRL_C:
            lines = ""
            continue
        if end == _CTRL_D and not lines:
            _put("\n")
            return True
        if end == _CTRL_E:
            _put("paste mode; Ctrl-C to cancel, Ctrl-D to finish\n=== ")
            _run(_paste(), scope, "exec")
            continue
        if end == _CTRL_B:
            continue
        if lines:
            if line.strip():
                lines += line + "\n"
                continue
            line, lines = lines, ""
        elif line.rstrip()[-1:] in (":", "\\") or line.startswith("@"):
            lines = line + "\n"
            continue
        if line.strip():
            _run(line, scope, "single")


def _line():
    """One edited line and the key that ended it."""
    line = bytearray()
    while True:
        key = _key()
        if key in (10, 13):
            _put("\n")
            return str(line, "utf-8"), key
        if key in (8, 127):
            if line:
                line = line[:-1]
                _put("\b \b")
        elif key == _CTRL_C:
            _put("\n")
            return "", key
        elif key in (_CTRL_A, _CTRL_B, _CTRL_D, _CTRL_E):
            if not line:
                return "", key
        elif key >= 32 or key == 9:
            line.append(key)
            sys.stdout.buffer.write(_one)


def _paste():
    code = bytearray()
    while True:
        key = _key()
        if key == _CTRL_C:
            _put("\n")
            return ""
        if key == _CTRL_D:
            _put("\n")
            return str(code, "utf-8")
        if key == 13:
            key = 10
        code.append(key)
        _put("\n=== " if key == 10 else chr(key))


def _run(code, scope, mode):
    error = _execute(code, scope, mode)
    if error:
        sys.print_exception(error)


def _execute(code, scope, mode):
    """Run code with Ctrl-C as the interrupt key; the exception that it ended with, or None."""
    micropython.kbd_intr(_CTRL_C)
    try:
        code = compile(
            str(code, "utf-8") if mode == "exec" and not isinstance(code, str) else code, "<stdin>", mode
        )
        exec(code, scope)
    except SystemExit:
        raise
    except BaseException as e:
        return e
    finally:
        micropython.kbd_intr(-1)
