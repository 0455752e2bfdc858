# Runs on the emulated RP2040: the Modbus cases that CPython and the virtual machines run, too, and the
# golden packets of the link (/link.json).

import gc
import json
from binascii import hexlify, unhexlify

import modbus_cases
from gasan.wire import session
from gasan.wire.cose import Hmac

_HEAD, _MAC = 6, 8

cases = [
    case for case in modbus_cases.CASES if case.__name__ != "case_tcp_transaction_ids_wrap"
]  # takes a minute
for case in cases:
    case()
    gc.collect()
print("modbus", len(cases))

with open("/link.json") as f:
    golden = json.load(f)
k_link = Hmac(unhexlify(golden["key"])).digest(b"gasan link 1")
names = ("nonce_g", "nonce_n", "node_id", "boot", "store_id")
context = b"".join(unhexlify(golden[name]) for name in names) + bytes([golden["generation"]])
for packet in golden["packets"]:
    body = unhexlify(packet["body"])
    end = session.Session(Hmac(k_link), context, packet["from"] == "node")
    end.sent = golden["counter"]
    buf = bytearray(_HEAD) + body + bytes(_MAC)
    size = end.seal(buf, 0, packet["kind"], _HEAD + len(body))
    if hexlify(memoryview(buf)[:size]).decode() != packet["packet"]:
        print("differs:", packet["kind"])
print("link", len(golden["packets"]))
