"""`gasan ble sniff --node`: what a running gateway's node hears, beside what it is there for."""

import asyncio
import base64
import json
import tomllib
from pathlib import Path

import pytest
from bumble.device import AdvertisingType
from gasan.boards.air import Air
from gasan.boards.vm import VmMissing, find_vm
from gasan.hil.air import BTHomeSensor
from gasan.hil.ble_on_vm import on_vm
from gasan.hil.served import ServedLog
from gasan.hil.waiting import until
from gasan.host import cli, i18n
from gasan.host.ble.node_air import records
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.compile import compile_site
from gasan.host.errors import InputError
from gasan.host.gateway.service import Gateway
from gasan.host.site import load

ADDRESS, STRANGER, PHONE = "C4:7C:8D:6A:00:01", "C4:7C:8D:6A:00:02", "C4:7C:8D:6A:00:03"
SITE = """\
[site]
name = "hall"
[[node]]
name = "hall-1"
board = "virtual"
[node.batch]
max_age = "300ms"
[[node.bus]]
name = "air"
type = "ble"
scan_window = "100ms"
active = true
air = "127.0.0.1:{port}"
[[node.bus.device]]
name = "climate"
address = "{address}"
profile = "bthome/thermo_hygrometer"
"""


async def measure(sensor: BTHomeSensor) -> None:
    value = 2000
    while True:
        value += 1
        await sensor.say([(0x02, value.to_bytes(2, "little")), (0x03, b"\xbf\x13")])
        await asyncio.sleep(0.2)


def test_a_node_tells_who_is_around_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        find_vm()
    except VmMissing as error:
        pytest.skip(str(error))
    i18n.set_language("en")
    state = tmp_path / "state"

    async def sniff(*options: str) -> str:
        capsys.readouterr()
        line = ["ble", "sniff", "--node", "hall-1", "--state", str(state), "--seconds", "3", *options]
        assert await asyncio.to_thread(cli.run, line) == ExitCode.OK
        return capsys.readouterr().out

    async def run() -> None:
        air = Air()
        await air.start()
        air.link.set_rssi(STRANGER, -81)
        log = ServedLog(tmp_path / "served.jsonl")
        sensors = [BTHomeSensor(air, log, address, interval_ms=60) for address in (ADDRESS, STRANGER)]
        tasks = [asyncio.create_task(measure(sensor)) for sensor in sensors]
        phone = await air.device("phone", PHONE)
        await phone.start_advertising(
            advertising_type=AdvertisingType.UNDIRECTED_SCANNABLE,
            advertising_data=b"\x04\xff\x4c\x00\x10",
            scan_response_data=b"\x06\x09Phone",
            advertising_interval_min=100,
            advertising_interval_max=100,
        )
        file = tmp_path / "site.toml"
        file.write_text(SITE.format(port=air.port, address=ADDRESS))
        gateway = Gateway(compile_site(load(file)), state_dir=state, db_path=tmp_path / "a.sqlite")
        stop = asyncio.Event()
        running = asyncio.create_task(gateway.run(stop))
        try:
            await until(lambda: gateway.snapshot().counters.readings >= 6)
            before = gateway.snapshot().counters.readings
            told = {it["address"]: it for it in json.loads(await sniff("--json", "--all"))}
            assert set(told) == {ADDRESS, STRANGER, PHONE}
            assert told[STRANGER]["rssi"] == -81 and told[ADDRESS]["rssi"] == -50
            assert told[STRANGER]["adverts"] > 10
            (known,) = told[STRANGER]["profiles"]
            assert known["profile"] == "bthome/thermo_hygrometer" and known["readings"]["humidity"] == 50.55
            assert told[PHONE]["name"] == "Phone" and told[PHONE]["manufacturer"] == {"0x004C": "10"}
            assert not told[PHONE]["profiles"]
            draft = await sniff("--draft")
            found = tomllib.loads("[node.bus]\n" + draft.replace("[[node.bus.device]]", "[[device]]"))
            assert {it["address"] for it in found["device"]} == {ADDRESS, STRANGER}
            assert gateway.snapshot().counters.readings > before + 10, "it went on"
            link = gateway._services["hall-1"].link
            for args in ([], [-1], [3001], ["x"], [None], [1, 2], [b""]):
                assert (await link.command("hear", *args)).status == 12, args
            assert (await link.command("hear", 0)).text == "0 "
        finally:
            for task in tasks:
                task.cancel()
            stop.set()
            await running
            for sensor in sensors:
                await sensor.close()
            await air.stop()
            log.close()

    asyncio.run(asyncio.wait_for(run(), 150))


EAR = """
from gasan.node import ble_hear
class node:
    sources = [("hall", source)]
def says(address, rssi, data, type=0):
    Radio.handler(5, (1, memoryview(bytearray(address)), type, rssi, memoryview(bytearray(data))))
async def heard(ms=1):
    status, text = await ble_hear.hear(node, [ms])
    print(status, text)
"""


def test_the_list_is_bounded_and_told_in_pieces(bits: int) -> None:
    out = on_vm(
        EAR
        + """
await heard()
for n in range(40):
    for _ in range(n + 1):
        says((0xC0, 0, 0, 0, 0, n), -n, bytes(31))
says((0xC0, 0, 0, 0, 0, 3), -90, b"new")
says((0xC0, 0, 0, 0, 0, 3), -91, b"", 4)
for _ in range(5):
    await heard()
says((0xC0, 0, 0, 0, 0, 39), -7, b"")
await heard()
hear(bytes.fromhex("0001 02ca09"))
await settled()
print(sampler.sampled)
await heard(0)
print("gasan.node.ble_hear" in sys.modules, Radio.handler == source._irq)
""",
        bits,
    )
    unnoted = sum(range(25, 41)) + 1
    lists = []
    for line in out[:7]:
        status, count, packed = (line + " ").split(" ")[:3]
        assert status == "0"
        lists.append(list(records(base64.b64decode(packed))))
        assert count == ("0" if len(lists) == 1 else str(unnoted))
    assert [len(it) for it in lists] == [0, 8, 8, 8, 0, 0, 1]
    told = [it for found in lists[1:4] for it in found]
    assert [(it.address[5], it.adverts) for it in told] == [(n, n + 1 + (n == 3)) for n in range(24)]
    assert told[3].rssi == -90 and told[3].data == b"new" and told[2].data == bytes(31)
    (late,) = lists[6]
    assert (late.address[5], late.adverts, late.rssi, late.random, late.response) == (39, 1, -7, True, False)
    assert out[7:] == ["1", "0 0 ", "False True"]


def test_an_advert_that_comes_while_the_list_is_told_spoils_no_record(bits: int) -> None:
    """The interrupt runs between any two bytecodes: here behind each look at a slot."""
    out = on_vm(
        EAR
        + """
class Slots:
    def __init__(self, real):
        self.real = real
        self.n = 0
        self.busy = False
    def __setitem__(self, at, value):
        self.real[at] = value
    def __getitem__(self, at):
        found = self.real[at]
        if not self.busy:
            self.busy = True
            self.n += 1
            says((0xC0, 0, 0, 0, 0, 3), -90, bytes(self.n * 7 % 32))
            self.busy = False
        return found
await heard()
for n in range(6):
    says((0xC0, 0, 0, 0, 0, n), -n, bytes(31))
ear = ble_hear._ears[0]
ear._slots = Slots(ear._slots)
await heard()
await heard(0)
""",
        bits,
    )
    told = list(records(base64.b64decode(out[1].split(" ")[2])))
    assert [it.address for it in told] == [bytes((0xC0, 0, 0, 0, 0, n)) for n in range(6)]


def test_it_ends_by_itself_and_the_interrupt_allocates_next_to_nothing(bits: int) -> None:
    out = on_vm(
        EAR
        + """
import gc
ticks = [0]
ble_hear.ticks_ms = lambda: ticks[0]
await heard()
address, data = bytearray(6), bytearray(31)
result = (1, memoryview(address), 0, -50, memoryview(data))
Radio.handler(5, result)
gc.collect()
before = gc.mem_alloc()
for n in range(200):
    address[5] = n
    Radio.handler(5, result)
print((gc.mem_alloc() - before) // 200)
ticks[0] = 14000
await asyncio.sleep_ms(1100)
print("gasan.node.ble_hear" in sys.modules)
ticks[0] = 15100
while "gasan.node.ble_hear" in sys.modules:
    await asyncio.sleep_ms(50)
print(Radio.handler == source._irq)
""",
        bits,
    )
    assert int(out[1]) <= 64 and out[2:] == ["True", "True"]


def test_a_source_that_listens_to_nobody_lends_its_radio(bits: int) -> None:
    """One of sensors that are connected to, on a node whose link goes over the same radio."""
    out = on_vm(
        EAR
        + """
task.cancel()
await settled()
from gasan.node import radio
class Central:
    _listens, _scanning, _ble = False, True, radio
    def _scan(self):
        pass
    def _irq(self, event, data):
        said.append(event)
said = []
central = Central()
radio.irq(central._irq)
node.sources = [("line", object()), ("hall", central)]
await heard()
print(central._listens, central._scanning)
central._scanning = True
says((0xC0, 0, 0, 0, 0, 1), -9, b"abc")
await heard()
await heard(0)
says((0xC0, 0, 0, 0, 0, 1), -9, b"abc")
print(central._listens, Radio.calls[-1], said, len(radio._handlers))
""",
        bits,
    )
    assert out[:2] == ["0 0 ", "True False"]
    assert len(list(records(base64.b64decode(out[2].split(" ")[2])))) == 1
    assert out[3:] == ["0 0 ", "False ('gap_scan', None) [5, 6, 5] 1"]


def test_an_answer_that_is_cut_is_refused() -> None:
    whole = bytes.fromhex("01c00000000001c40001 02 aabb".replace(" ", ""))
    assert [it.data.hex() for it in records(whole)] == ["aabb"]
    for end in range(1, len(whole)):
        with pytest.raises(InputError):
            list(records(whole[:end]))
