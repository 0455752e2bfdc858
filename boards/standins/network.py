"""network.WLAN on an air that the host scripts: one access point, in range or not, with one password.

Joining takes a moment. When the access point goes out of range the connection is lost; an ESP32 joins again
by itself, an RP2040 waits for connect(). While a Wi-Fi board is not joined, its sockets reach nobody.
"""

import time

import levels

STA_IF = 0
AP_IF = 1
STAT_IDLE = 0
STAT_CONNECTING = 1
STAT_WRONG_PASSWORD = -3
STAT_NO_AP_FOUND = -2
STAT_CONNECT_FAIL = -1
STAT_GOT_IP = 3

_JOIN_MS = 300
_ADDRESS = "127.0.0.1"

_ssid = b""
_password = b""
_mac = b""
_rejoins = False
_hostname = "gasan"
_active = False
_joined = False
_wanted = None
_since = 0
_failed = 0


def set_air(ssid, password, mac, family):
    """The access point's name and password (str), the board's address (6 bytes), the port's ways."""
    global _ssid, _password, _mac, _rejoins
    global STAT_IDLE, STAT_CONNECTING, STAT_WRONG_PASSWORD, STAT_NO_AP_FOUND, STAT_CONNECT_FAIL, STAT_GOT_IP
    _ssid = ssid
    _password = password
    _mac = mac
    _rejoins = family != "rp2"
    if _rejoins:
        STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP = 1000, 1001, 1010
        STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD, STAT_CONNECT_FAIL = 201, 202, 203


def hostname(name=None):
    global _hostname
    if name is None:
        return _hostname
    _hostname = name


def country(code=None):
    return "XX"


def up():
    """True while packets get through. Also moves the state on, as the radio would."""
    global _joined, _failed, _since
    in_range = levels.wifi()
    if _joined and not in_range:
        _joined = False
        _since = time.ticks_ms()
        _failed = STAT_CONNECT_FAIL
    elif not _joined and _active and _wanted and (_rejoins or not _failed):
        if time.ticks_diff(time.ticks_ms(), _since) >= _JOIN_MS:
            if not in_range or _wanted[0] != _ssid:
                _failed = STAT_NO_AP_FOUND
                _since = time.ticks_ms()
            elif _wanted[1] != _password:
                _failed = STAT_WRONG_PASSWORD
                _since = time.ticks_ms()
            else:
                _joined = True
                _failed = 0
    return _joined


class WLAN:
    IF_STA = STA_IF
    IF_AP = AP_IF
    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    def __init__(self, interface=STA_IF):
        if interface != STA_IF:
            raise ValueError("only the station interface is simulated")

    def active(self, on=None):
        global _active
        if on is None:
            return _active
        _active = bool(on)
        if not on:
            self.disconnect()

    def connect(self, ssid=None, key="", **options):
        global _wanted, _since, _failed
        if not _active:
            raise OSError(16)  # EBUSY, as a radio that is off
        if ssid is not None:
            _wanted = (ssid, key or "")
        _failed = 0
        _since = time.ticks_ms()

    def disconnect(self):
        global _wanted, _joined, _failed
        _wanted = None
        _joined = False
        _failed = 0

    def isconnected(self):
        return up()

    def status(self, what=None):
        joined = up()
        if what == "rssi":
            return levels.rssi()
        if joined:
            return STAT_GOT_IP
        if _wanted is None:
            return STAT_IDLE
        return _failed or STAT_CONNECTING

    def scan(self):
        if not _active or not levels.wifi():
            return []
        return [(_ssid.encode(), b"\x02\x00\x00\x00\x00\x01", 6, levels.rssi(), 3 if _password else 0, 0)]

    def ifconfig(self, settings=None):
        if settings is None:
            return (_ADDRESS, "255.0.0.0", _ADDRESS, _ADDRESS) if up() else ("0.0.0.0",) * 4

    def ipconfig(self, *name, **settings):
        if name:
            return {"addr4": self.ifconfig()[:2], "gw4": self.ifconfig()[2], "dhcp4": True}[name[0]]

    def config(self, *name, **settings):
        if name:
            return {"mac": _mac, "ssid": (_wanted or ("",))[0], "channel": 6, "pm": 0}[name[0]]
