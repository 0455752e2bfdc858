# Runs on the emulated RP2040: unpacks and packs the float32 of /floats and prints what does not come back.

import struct

with open("/floats", "rb") as f:
    data = f.read()
for at in range(0, len(data), 4):
    raw = data[at : at + 4]
    if struct.pack(">f", struct.unpack(">f", raw)[0]) != raw:
        print(raw.hex())
