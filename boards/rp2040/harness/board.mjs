import { readFileSync } from 'node:fs';
import { Chip } from './chip.mjs';
import { Device } from './i2c.mjs';
import { LineLog } from './line-log.mjs';
import { Random } from './random.mjs';
import { Timeline } from './timeline.mjs';

/** @typedef {import('./chip.mjs').Remains} Remains */
/** @typedef {import('./flash.mjs').Cut} Cut */
/** @typedef {import('./flash.mjs').Flash} Flash */
/** @typedef {import('./log.mjs').EventLog} EventLog */

/** Why a run stopped. @typedef {'time' | 'usb' | 'usb-up' | 'uart' | 'reset' | 'cut' | 'off' | 'fault' | 'wall'} Reason */
/** What happens to the power: `power-on` also after a cut, `reset` by the firmware or the button. */
/** @typedef {'power-on' | 'reset' | 'watchdog' | 'button'} Start */

const RESET_NS = 1e6; // from a reset to the first instruction
const WALL_CHECK = 2_000_000; // instructions between looks at the wall clock
const WATCHDOG_TIMER = 1;

export class Board {
  timeline = new Timeline();
  /** @type {Chip | null} */
  chip = null;
  /** @type {'off' | 'on' | 'bootloader' | 'fault'} */
  power = 'off';
  /** What the board has said on USB and nobody has taken yet. @type {number[]} */
  output = [];
  instructions = 0;
  cycles = 0;
  /** Nanoseconds in which the core was not asleep. */
  busyNs = 0;
  /** @type {Record<Start, number>} */
  starts = { 'power-on': 0, reset: 0, watchdog: 0, button: 0 };
  faultMessage = '';
  usbOpen = true;
  usbReading = true;
  usbPlugged = true;
  /** Bytes lost in full receive FIFOs of earlier starts. */
  overruns = [0, 0];
  i2c = [new Map(), new Map()];
  analogue = [0, 0, 0, 0, 876]; // the last is the temperature sensor at 27 °C
  /** @type {(0 | 1 | null)[]} */
  outside = Array(30).fill(null);
  /** Called with each character that has left a UART. @type {((byte: number, start: number, end: number) => void)[][]} */
  uartListeners = [[], []];
  /** Called with each change of a pin. @type {((pin: number, level: number) => void)[]} */
  pinListeners = [];
  #flash;
  #log;
  #lines;
  #bootrom;
  #seed;
  #uid;
  #logger;
  /** @type {Remains | null} */
  #remains = null;
  /** @type {Start | null} the start that is due */
  #next = null;
  /** @type {Reason | null} */
  #stop = null;
  #stops = new Set();
  #boots = 0;
  /** What the inner loop looks at: whether it must end, time that an operation takes, nanoseconds of a cycle. */
  #pending = { raised: false, extraNs: 0, cycleNs: 8 };

  /**
   * @param {object} options
   * @param {string} options.bootrom file
   * @param {Flash} options.flash
   * @param {string} options.seed of all that is random in the run
   * @param {Uint8Array} options.uid
   * @param {(now: () => number) => EventLog} options.log
   */
  constructor({ bootrom, flash, seed, uid, log }) {
    const rom = Buffer.alloc(0x4000);
    readFileSync(bootrom).copy(rom);
    this.#bootrom = new Uint32Array(rom.buffer, rom.byteOffset, rom.length / 4);
    this.#flash = flash;
    this.#seed = seed;
    this.#uid = uid;
    this.#log = log(() => this.timeline.now);
    this.#lines = [0, 1].map((uart) => new LineLog(uart, this.timeline, this.#log));
    this.#logger = new Oddities(this.#log);
  }

  get now() {
    return this.timeline.now;
  }

  get log() {
    return this.#log;
  }

  get flash() {
    return this.#flash;
  }

  /** Accesses that the emulator does not model, by kind. */
  get oddities() {
    return this.#logger.seen;
  }

  /** Give the power. @param {Cut | null} cut */
  on(cut = null) {
    if (this.power !== 'on') {
      this.#flash.cut = cut;
      this.#flash.operations = 0;
      this.power = 'on';
      this.#next = 'power-on';
    }
  }

  /** Take the power. */
  off() {
    if (this.power !== 'off') {
      this.#log.add('power', { on: false });
      this.#drop();
      this.power = 'off';
    }
  }

  /** Press the reset button. */
  reset() {
    if (this.power === 'on') {
      this.#remains = this.chip === null ? null : { reason: 0, scratch: new Uint32Array(8), ram: this.chip.mcu.sram };
      this.#drop();
      this.#next = 'button';
    }
  }

  /** Send to the board's USB. @param {Uint8Array} data */
  send(data) {
    this.chip?.usb.send(data);
  }

  /** A program of the host has the port open, and reads. @param {boolean} open @param {boolean} reading */
  hold(open, reading) {
    this.usbOpen = open;
    this.usbReading = reading;
    this.chip?.usb.open(open);
    this.chip?.usb.read(reading || !open);
  }

  /** @param {boolean} plugged */
  plug(plugged) {
    this.#log.add('usb', { plugged });
    this.usbPlugged = plugged;
    this.chip?.usb.plug(plugged);
  }

  /** Drive a pin from outside, or let it go. @param {number} pin @param {0 | 1 | null} level */
  drive(pin, level) {
    this.outside[pin] = level;
    this.chip?.pins.refresh(pin);
  }

  /** A character has arrived whole at a UART. @param {number} uart @param {number} byte @param {number} start */
  receive(uart, byte, start) {
    this.#lines[uart].add('rx', byte, start, this.now);
    this.chip?.uarts[uart].receive(byte);
  }

  /** Nanoseconds of a character on a UART as the firmware has set it up. @param {number} uart */
  charNs(uart) {
    return this.chip?.uarts[uart].charNs ?? 1e9 / 11520;
  }

  /** Put a device on an I2C bus. @param {number} bus @param {number} address */
  addDevice(bus, address) {
    const device = new Device();
    this.i2c[bus].set(address, device);
    return device;
  }

  /** Stop the run for this reason, if it is one that was asked for. @param {Reason} reason */
  stop(reason) {
    if (this.#stops.has(reason)) {
      this.#end(reason);
    }
  }

  /** @param {Reason} reason */
  #end(reason) {
    this.#stop ??= reason;
    this.#pending.raised = true;
  }

  /**
   * Run until a time of the board's clock, or until one of the reasons in `stops`; a fault ends any run.
   * @param {number} until nanoseconds
   * @param {Iterable<Reason>} stops
   * @param {number} wallMs at most
   * @returns {Reason}
   */
  run(until, stops = [], wallMs = Infinity) {
    const deadline = Date.now() + wallMs;
    this.#stops = new Set([...stops, /** @type {Reason} */ ('fault')]);
    this.#stop = null;
    while (this.#stop === null && this.now < until) {
      if (this.power === 'on' && this.#next !== null) {
        this.#start(this.#next);
      } else if (this.chip === null) {
        this.timeline.advance(until);
      } else {
        this.#execute(until - this.now);
        if (Date.now() > deadline) {
          this.#stop ??= 'wall';
        }
      }
    }
    return this.#stop ?? 'time';
  }

  /**
   * The inner loop: it looks at one flag and one alarm for each instruction, so whatever ends it raises the flag.
   * @param {number} nanos at most, until something happens
   */
  #execute(nanos) {
    const { mcu } = /** @type {Chip} */ (this.chip);
    const { core, clock } = mcu;
    const { step } = /** @type {Chip} */ (this.chip);
    const pending = this.#pending;
    const started = clock.nanosCounter;
    const end = clock.createAlarm(() => (pending.raised = true));
    end.schedule(nanos);
    let instructions = 0;
    let cycles = 0;
    let slept = 0;
    pending.raised = false;
    pending.extraNs = 0;
    while (!pending.raised && instructions < WALL_CHECK) {
      if (core.waiting) {
        const nap = Math.max(0, clock.nextAlarm.nanos - clock.nanosCounter);
        slept += nap;
        clock.tick(nap);
        continue;
      }
      const taken = step();
      instructions++;
      cycles += taken;
      const now = clock.nanosCounter + taken * pending.cycleNs;
      if (clock.nextAlarm.nanos <= now) {
        clock.tick(now - clock.nanosCounter);
      } else {
        clock.nanosCounter = now;
      }
      if (pending.extraNs > 0) {
        const { extraNs } = pending;
        pending.extraNs = 0;
        clock.tick(extraNs);
      }
    }
    end.cancel();
    this.instructions += instructions;
    this.cycles += cycles;
    this.busyNs += clock.nanosCounter - started - slept;
    if (this.#next !== null || this.power !== 'on') {
      this.#drop();
    }
  }

  /** @param {Start} kind */
  #start(kind) {
    this.#next = null;
    this.timeline.advance(this.now + RESET_NS);
    this.starts[kind]++;
    this.#log.add('start', { kind, boot: this.#boots });
    const random = new Random(`${this.#seed}/${this.#boots}`);
    this.#boots++;
    const calls = this.#calls();
    this.chip = new Chip(
      {
        bootrom: this.#bootrom,
        flash: this.#flash.memory,
        remains: kind === 'power-on' ? null : this.#remains,
        random,
        uid: this.#uid,
        timeline: this.timeline,
        outside: this.outside,
        analogue: this.analogue,
        i2c: this.i2c,
        logger: this.#logger,
      },
      calls,
    );
    this.#pending.cycleNs = 1e9 / this.chip.mcu.clkSys;
    this.chip.mcu.addClockListener((/** @type {number} */ frequency) => (this.#pending.cycleNs = 1e9 / frequency));
    this.chip.usb.open(this.usbOpen);
    this.chip.usb.read(this.usbReading || !this.usbOpen);
    this.chip.usb.plug(this.usbPlugged);
  }

  /** The chip is without power, or about to start anew. */
  #drop() {
    if (this.chip !== null) {
      this.chip.uarts.forEach((uart, i) => (this.overruns[i] += uart.overruns));
      this.chip = null;
      this.timeline.detach();
    }
  }

  /** @returns {import('./chip.mjs').ChipCalls} */
  #calls() {
    return {
      uart: (uart, byte, start, end) => {
        this.#lines[uart].add('tx', byte, start, end);
        this.uartListeners[uart].forEach((call) => call(byte, start, end));
        this.stop('uart');
      },
      pin: (pin, level) => {
        this.#log.add('pin', { pin, level });
        this.pinListeners.forEach((call) => call(pin, level));
      },
      connected: () => {
        this.#log.add('usb', { connected: true });
        this.stop('usb-up');
      },
      usb: (data) => {
        if (this.usbOpen) {
          this.output.push(...data);
          this.stop('usb');
        }
      },
      watchdog: (reason) => {
        const kind = reason === WATCHDOG_TIMER ? 'watchdog' : 'reset';
        this.#log.add(kind);
        this.#remains = this.chip === null ? null : this.chip.remains();
        this.#next = kind;
        this.#pending.raised = true;
        this.stop('reset');
      },
      erase: (at, size) => this.#flashed('erase', at, size, () => this.#flash.erase(at, size)),
      program: (at, data) => this.#flashed('program', at, data.length, () => this.#flash.program(at, data)),
      bootloader: () => {
        this.#log.add('bootloader');
        this.power = 'bootloader';
        this.#end('off');
      },
      fault: (message) => this.#fault(message),
    };
  }

  /** @param {string} what @param {number} at @param {number} size @param {() => [number, boolean]} operate */
  #flashed(what, at, size, operate) {
    try {
      const [nanos, cut] = operate();
      this.#log.add('flash', { what, at, size, operations: this.#flash.operations });
      this.#pending.extraNs += nanos;
      if (cut) {
        this.#log.add('cut');
        this.power = 'off';
        this.#end('cut');
      }
    } catch (error) {
      this.#fault(/** @type {Error} */ (error).message);
    }
  }

  /** @param {string} message */
  #fault(message) {
    this.#log.add('fault', { message });
    this.faultMessage = message;
    this.power = 'fault';
    this.#end('fault');
  }
}

/** Counts what rp2040js complains about, instead of printing it without limit. */
class Oddities {
  /** @type {Record<string, number>} */
  seen = {};
  #log;

  /** @param {EventLog} log */
  constructor(log) {
    this.#log = log;
  }

  debug() {}

  info() {}

  /** @param {string} name @param {string} message */
  warn(name, message) {
    const kind = `${name}: ${message}`.slice(0, 120);
    if (kind in this.seen) {
      this.seen[kind]++;
    } else if (Object.keys(this.seen).length < 100) {
      this.seen[kind] = 1;
      this.#log.add('oddity', { kind });
    }
  }

  /** @param {string} name @param {string} message */
  error(name, message) {
    this.warn(name, message);
  }
}
