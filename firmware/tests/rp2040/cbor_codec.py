# Runs on the emulated RP2040: the CBOR codec on the standard's vectors (/vectors.json, where it is there) and
# on hostile bytes, some of which are nested deeper than the board's stack.

import json
import os
import struct

import cbor_cases
from gasan.wire import cbor

if "vectors.json" in os.listdir("/"):
    with open("/vectors.json") as f:
        vectors = json.load(f)
    print("refused", *sorted(cbor_cases.check_vectors(vectors["others"])))
    for encoded, single in vectors["floats"]:
        value = cbor.loads(bytes.fromhex(encoded))
        if struct.pack(">f", value).hex() != single or cbor.dumps(value).hex() != encoded:
            print("differs:", encoded)
cbor_cases.check_hostile()
print("hostile", len(cbor_cases.HOSTILE))
