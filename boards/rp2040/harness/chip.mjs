import { RP2040 } from 'rp2040js';
import { quickCore } from './core.mjs';
import { attachController, BitBus } from './i2c.mjs';
import { Pins } from './pins.mjs';
import { answerBreakpoints } from './rom.mjs';
import { Uart } from './uart.mjs';
import { UsbHost } from './usb.mjs';

/** @typedef {import('./i2c.mjs').Devices} Devices */
/** @typedef {import('./random.mjs').Random} Random */
/** @typedef {import('./timeline.mjs').Timeline} Timeline */

const UART_IRQS = [20, 21];
const UART_PAGES = [0x40034, 0x40038];
const SSI = 0x18000;
const PSM = 0x40010;
const IO_QSPI = 0x40018;
const WATCHDOG = 0x40058;
const ROSC = 0x40060;
const VREG = 0x40064;

const RANDOM_BIT = 0x1c;
const ROSC_STATUS = 0x18;
const ROSC_STABLE = 1 << 31;
const FIFO_ST = 0x50;
const FIFO_WR = 0x54;
const FIFO_RD = 0x58;
const PSM_FORCE_OFF = 0x04;
const PSM_CORE1 = 1 << 16;
const SSI_DR0 = 0x60;
const QSPI_SS_CTRL = 0x0c;
const CMD_UNIQUE_ID = 0x4b;
const DUMMY_BYTES = 5; // the command itself and four more

/**
 * What a reset leaves: the watchdog's reason and scratch registers, and the RAM.
 * @typedef {{reason: number, scratch: Uint32Array, ram: Uint8Array}} Remains
 */

/**
 * @typedef {object} ChipCalls
 * @property {(uart: number, byte: number, start: number, end: number) => void} uart a character has left
 * @property {(pin: number, level: number) => void} pin
 * @property {() => void} connected
 * @property {(data: Uint8Array) => void} usb
 * @property {(reason: number) => void} watchdog 1: the timer ran out; 2: forced by the firmware
 * @property {(at: number, size: number) => void} erase
 * @property {(at: number, data: Uint8Array) => void} program
 * @property {() => void} bootloader
 * @property {(message: string) => void} fault
 */

/** One start of the chip: rp2040js' model with what it gets wrong put right. */
export class Chip {
  /** @type {any} rp2040js keeps much of what is needed here private */
  mcu;
  /** @type {Uart[]} */
  uarts;
  pins;
  usb;
  #watchdog;

  /**
   * @param {object} options
   * @param {Uint32Array} options.bootrom
   * @param {Uint8Array} options.flash
   * @param {Remains | null} options.remains null: power-on
   * @param {Random} options.random
   * @param {Uint8Array} options.uid 8 bytes
   * @param {Timeline} options.timeline
   * @param {(0 | 1 | null)[]} options.outside
   * @param {number[]} options.analogue
   * @param {Devices[]} options.i2c
   * @param {object} options.logger
   * @param {boolean} [options.plainCore] leave all instructions to rp2040js
   * @param {ChipCalls} calls
   */
  constructor(options, calls) {
    const { timeline } = options;
    /** @type {any} */
    const mcu = new RP2040();
    this.mcu = mcu;
    mcu.logger = options.logger;
    mcu.loadBootrom(options.bootrom);
    mcu.flash = options.flash;
    mcu.flash16 = new Uint16Array(options.flash.buffer);
    mcu.flashView = new DataView(options.flash.buffer);
    timeline.attach(mcu.clock);
    this.uarts = [0, 1].map((i) => {
      const sent = (/** @type {number} */ byte, /** @type {number} */ start, /** @type {number} */ end) =>
        calls.uart(i, byte, start, end);
      const uart = new Uart(mcu, UART_IRQS[i], () => timeline.now, sent);
      mcu.peripherals[UART_PAGES[i]] = uart;
      return uart;
    });
    mcu.uart = this.uarts.map((uart) => Object.assign(uart, { clkPeriChanged() {} }));
    mcu.peripherals[ROSC] = new Ring(options.random);
    mcu.peripherals[VREG] = new Memory();
    this.#watchdog = mcu.peripherals[WATCHDOG];
    this.#setUpWatchdog(options.remains, calls);
    setUpFlashInterface(mcu, options.uid);
    setUpCore1(mcu, calls);
    this.pins = new Pins(mcu, options.outside, { changed: calls.pin });
    for (let sda = 0; sda < 30; sda += 2) {
      new BitBus(this.pins, sda, options.i2c[(sda >> 1) & 1]);
    }
    mcu.i2c.forEach((/** @type {any} */ bus, /** @type {number} */ i) => attachController(bus, options.i2c[i], timeline));
    mcu.adc.channelValues = options.analogue;
    answerBreakpoints(mcu, calls);
    this.usb = new UsbHost(mcu, { connected: calls.connected, data: calls.usb });
    mcu.core.PC = 0;
    mcu.core.reset();
    /** Execute one instruction; its cycles. */
    this.step = options.plainCore ? mcu.core.executeInstruction.bind(mcu.core) : quickCore(mcu);
  }

  /** What the next start of the chip finds if this one ends by a reset. @returns {Remains} */
  remains() {
    const { reason, scratchData } = this.#watchdog;
    return { reason, scratch: scratchData.slice(), ram: this.mcu.sram };
  }

  /** @param {Remains | null} remains @param {ChipCalls} calls */
  #setUpWatchdog(remains, calls) {
    const watchdog = this.#watchdog;
    if (remains !== null) {
      watchdog.reason = remains.reason;
      watchdog.scratchData.set(remains.scratch);
      this.mcu.sram.set(remains.ram);
    }
    watchdog.onWatchdogTrigger = () => {
      watchdog.alarm.enable = false; // it would fire for ever at the same moment
      watchdog.timer.enable = false;
      calls.watchdog(watchdog.reason);
    };
  }
}

/** Registers that can be written and read. */
class Memory {
  /** @type {Map<number, number>} */
  values = new Map();

  /** @param {number} offset */
  readUint32(offset) {
    return this.values.get(offset) ?? 0;
  }

  /** @param {number} offset @param {number} value */
  writeUint32(offset, value) {
    this.values.set(offset, value >>> 0);
  }

  /** @param {number} offset @param {number} value @param {number} kind 1 xor, 2 set, 3 clear */
  writeUint32Atomic(offset, value, kind) {
    const old = kind === 0 ? 0 : this.readUint32(offset);
    this.writeUint32(offset, kind === 0 ? value : kind === 1 ? old ^ value : kind === 2 ? old | value : old & ~value);
  }
}

/** The ring oscillator, whose jitter is MicroPython's only source of randomness. */
class Ring extends Memory {
  #random;

  /** @param {Random} random */
  constructor(random) {
    super();
    this.#random = random;
  }

  /** @override @param {number} offset */
  readUint32(offset) {
    if (offset === RANDOM_BIT) {
      return this.#random.next() >>> 31;
    }
    return offset === ROSC_STATUS ? ROSC_STABLE : super.readUint32(offset);
  }
}

/** Let the flash chip tell its unique id through the serial interface. @param {any} mcu @param {Uint8Array} uid */
function setUpFlashInterface(mcu, uid) {
  const ssi = mcu.peripherals[SSI];
  const [read, write] = [ssi.readUint32.bind(ssi), ssi.writeUint32.bind(ssi)];
  /** @type {number[]} */
  let answers = [];
  let sent = 0;
  let command = 0;
  ssi.readUint32 = (/** @type {number} */ offset) => (offset === SSI_DR0 ? (answers.shift() ?? 0) : read(offset));
  ssi.writeUint32 = (/** @type {number} */ offset, /** @type {number} */ value) => {
    if (offset !== SSI_DR0) {
      write(offset, value);
      return;
    }
    command = sent === 0 ? value & 0xff : command;
    answers.push(command === CMD_UNIQUE_ID ? (uid[sent - DUMMY_BYTES] ?? 0) : 0);
    sent++;
  };
  const select = new Memory();
  const selectWrite = select.writeUint32.bind(select);
  select.writeUint32 = (offset, value) => {
    if (offset === QSPI_SS_CTRL) {
      answers = [];
      sent = 0;
    }
    selectWrite(offset, value);
  };
  mcu.peripherals[IO_QSPI] = select;
}

/** There is one core: say so instead of waiting for the other for ever. @param {any} mcu @param {ChipCalls} calls */
function setUpCore1(mcu, calls) {
  /** @type {number[]} */
  let fifo = [];
  const { sio } = mcu;
  const [read, write] = [sio.readUint32.bind(sio), sio.writeUint32.bind(sio)];
  sio.readUint32 = (/** @type {number} */ offset) => {
    if (offset === FIFO_ST) {
      return 2 | (fifo.length > 0 ? 1 : 0);
    }
    return offset === FIFO_RD ? (fifo.shift() ?? 0) : read(offset);
  };
  sio.writeUint32 = (/** @type {number} */ offset, /** @type {number} */ value) => {
    if (offset === FIFO_WR) {
      calls.fault('the firmware started the second core (_thread), and the emulated RP2040 has only one');
    } else {
      write(offset, value);
    }
  };
  const psm = mcu.peripherals[PSM];
  const psmWrite = psm.writeUint32.bind(psm);
  psm.writeUint32 = (/** @type {number} */ offset, /** @type {number} */ value) => {
    if (offset === PSM_FORCE_OFF && psm.frceOff & PSM_CORE1 && !(value & PSM_CORE1)) {
      fifo = [0]; // what core 1 says when it comes out of its reset
    }
    psmWrite(offset, value);
  };
}
