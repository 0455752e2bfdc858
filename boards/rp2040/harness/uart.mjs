/**
 * A PL011 UART on the simulation clock: FIFOs of 32 characters with thresholds, character times after the divisor
 * and the format, receive timeout, overruns. It takes the place of rp2040js' UART (docs/rp2040js.md).
 */

const DR = 0x00;
const RSR = 0x04;
const FR = 0x18;
const IBRD = 0x24;
const FBRD = 0x28;
const LCR_H = 0x2c;
const CR = 0x30;
const IFLS = 0x34;
const IMSC = 0x38;
const RIS = 0x3c;
const MIS = 0x40;
const ICR = 0x44;
const DMACR = 0x48;
const ID = 0xfe0;
const IDS = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

const FR_TXFE = 1 << 7;
const FR_RXFF = 1 << 6;
const FR_TXFF = 1 << 5;
const FR_RXFE = 1 << 4;
const FR_BUSY = 1 << 3;

const INT_RX = 1 << 4;
const INT_TX = 1 << 5;
const INT_TIMEOUT = 1 << 6;
const INT_OVERRUN = 1 << 10;

const DR_OVERRUN = 1 << 11;
const LCR_PARITY = 1 << 1;
const LCR_STOP2 = 1 << 3;
const LCR_FIFO = 1 << 4;
const CR_ENABLE = 1 << 0;
const CR_TX = 1 << 8;
const CR_RX = 1 << 9;

const DEPTH = 32;
const LEVELS = [4, 8, 16, 24, 28];

export class Uart {
  #mcu;
  #irq;
  #now;
  #txDone;
  #rxTimeout;
  /** @type {number[]} */
  #tx = [];
  /** @type {number[]} */
  #rx = [];
  #shifting = -1;
  #shiftStart = 0;
  #lost = false;
  #raw = 0;
  #mask = 0;
  #ifls = 0x12;
  #lcr = 0;
  #cr = CR_TX | CR_RX;
  #ibrd = 0;
  #fbrd = 0;
  #dmacr = 0;
  #rsr = 0;
  overruns = 0;

  /**
   * @param {any} mcu
   * @param {number} irq
   * @param {() => number} now board time
   * @param {(byte: number, start: number, end: number) => void} onByte a character has left, with its board time
   */
  constructor(mcu, irq, now, onByte) {
    this.#mcu = mcu;
    this.#irq = irq;
    this.#now = now;
    this.#txDone = mcu.clock.createAlarm(() => {
      const byte = this.#shifting;
      this.#shifting = -1;
      onByte(byte, this.#shiftStart, this.#now());
      this.#pump();
    });
    this.#rxTimeout = mcu.clock.createAlarm(() => {
      if (this.#rx.length > 0) {
        this.#raise(INT_TIMEOUT);
      }
    });
  }

  get baudrate() {
    return this.#ibrd ? this.#mcu.clkPeri / (16 * (this.#ibrd + this.#fbrd / 64)) : 115200;
  }

  /** Bits of a character, start and stop bits included. */
  get charBits() {
    const data = 5 + ((this.#lcr >>> 5) & 3);
    return 1 + data + (this.#lcr & LCR_PARITY ? 1 : 0) + (this.#lcr & LCR_STOP2 ? 2 : 1);
  }

  get charNs() {
    return (this.charBits * 1e9) / this.baudrate;
  }

  get listening() {
    return (this.#cr & (CR_ENABLE | CR_RX)) === (CR_ENABLE | CR_RX);
  }

  /** A character has arrived whole. @param {number} byte */
  receive(byte) {
    if (!this.listening) {
      return;
    }
    if (this.#rx.length >= this.#depth) {
      this.overruns++;
      this.#lost = true;
      this.#raise(INT_OVERRUN);
    } else {
      this.#rx.push(byte | (this.#lost ? DR_OVERRUN : 0));
      this.#lost = false;
    }
    if (this.#rx.length >= this.#level(this.#ifls >> 3)) {
      this.#raise(INT_RX);
    }
    this.#rxTimeout.schedule((32 * 1e9) / this.baudrate);
  }

  /** @param {number} offset */
  readUint32(offset) {
    switch (offset) {
      case DR:
        return this.#take();
      case RSR:
        return this.#rsr;
      case FR:
        return (
          (this.#tx.length === 0 ? FR_TXFE : 0) |
          (this.#rx.length >= this.#depth ? FR_RXFF : 0) |
          (this.#tx.length >= this.#depth ? FR_TXFF : 0) |
          (this.#rx.length === 0 ? FR_RXFE : 0) |
          (this.#shifting >= 0 || this.#tx.length > 0 ? FR_BUSY : 0)
        );
      case IBRD:
        return this.#ibrd;
      case FBRD:
        return this.#fbrd;
      case LCR_H:
        return this.#lcr;
      case CR:
        return this.#cr;
      case IFLS:
        return this.#ifls;
      case IMSC:
        return this.#mask;
      case RIS:
        return this.#raw;
      case MIS:
        return this.#raw & this.#mask;
      case DMACR:
        return this.#dmacr;
      default:
        return IDS[(offset - ID) >> 2] ?? 0;
    }
  }

  /** @param {number} offset @param {number} value */
  writeUint32(offset, value) {
    switch (offset) {
      case DR:
        if (this.#tx.length < this.#depth) {
          this.#tx.push(value & 0xff);
        }
        if (this.#tx.length > this.#level(this.#ifls)) {
          this.#raw &= ~INT_TX;
        }
        this.#pump();
        break;
      case RSR:
        this.#rsr = 0;
        break;
      case IBRD:
        this.#ibrd = value & 0xffff;
        break;
      case FBRD:
        this.#fbrd = value & 0x3f;
        break;
      case LCR_H:
        this.#lcr = value & 0xff;
        break;
      case CR:
        this.#cr = value & 0xffff;
        this.#pump();
        break;
      case IFLS:
        this.#ifls = value & 0x3f;
        break;
      case IMSC:
        this.#mask = value & 0x7ff;
        break;
      case ICR:
        this.#raw &= ~value;
        break;
      case DMACR:
        this.#dmacr = value & 7;
        break;
    }
    this.#update();
  }

  /** @param {number} offset @param {number} value @param {number} kind 1 xor, 2 set, 3 clear */
  writeUint32Atomic(offset, value, kind) {
    if (kind !== 0) {
      const old = this.readUint32(offset);
      value = kind === 1 ? old ^ value : kind === 2 ? old | value : old & ~value;
    }
    this.writeUint32(offset, value);
  }

  get #depth() {
    return this.#lcr & LCR_FIFO ? DEPTH : 1;
  }

  /** @param {number} select */
  #level(select) {
    return this.#lcr & LCR_FIFO ? (LEVELS[select & 7] ?? 16) : 1;
  }

  #take() {
    const value = this.#rx.shift() ?? 0;
    if (this.#rx.length < this.#level(this.#ifls >> 3)) {
      this.#raw &= ~INT_RX;
    }
    if (this.#rx.length === 0) {
      this.#raw &= ~INT_TIMEOUT;
    }
    if (value & DR_OVERRUN) {
      this.#rsr |= 8;
    }
    this.#update();
    return value;
  }

  #pump() {
    const on = CR_ENABLE | CR_TX;
    if (this.#shifting >= 0 || this.#tx.length === 0 || (this.#cr & on) !== on) {
      return;
    }
    const held = this.#tx.length;
    this.#shifting = /** @type {number} */ (this.#tx.shift());
    this.#shiftStart = this.#now();
    this.#txDone.schedule(this.charNs);
    const level = this.#lcr & LCR_FIFO ? this.#level(this.#ifls) : 0;
    if (held > level && this.#tx.length <= level) {
      this.#raise(INT_TX);
    }
  }

  /** @param {number} interrupt */
  #raise(interrupt) {
    this.#raw |= interrupt;
    this.#update();
  }

  #update() {
    this.#mcu.setInterrupt(this.#irq, (this.#raw & this.#mask) !== 0);
  }
}
