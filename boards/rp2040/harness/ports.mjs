import { readSync, writeSync } from 'node:fs';

/** @typedef {import('./board.mjs').Board} Board */

const CHUNK = 4096;
const USB_ROOM = 512; // bytes that may wait in the host for the board
const AGAIN = new Set(['EAGAIN', 'EWOULDBLOCK']);

/** Read what is there: bytes, null when there is nothing, undefined when the other end is closed. @param {number} fd */
function take(fd) {
  const buffer = Buffer.alloc(CHUNK);
  try {
    const size = readSync(fd, buffer, 0, CHUNK, null);
    return size > 0 ? buffer.subarray(0, size) : undefined;
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    return AGAIN.has(code ?? '') ? null : undefined;
  }
}

/** Write what fits; how many bytes that was, -1 when the other end is closed. @param {number} fd @param {Uint8Array} data */
function put(fd, data) {
  try {
    return writeSync(fd, data);
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    return AGAIN.has(code ?? '') ? 0 : -1;
  }
}

/** The board's USB port as a socket, `fd`, non-blocking. What the other end does not read waits in the board. */
export class UsbPort {
  #board;
  #fd;
  counters = { in: 0, out: 0 };

  /** @param {Board} board @param {number} fd */
  constructor(board, fd) {
    this.#board = board;
    this.#fd = fd;
    board.hold(false, true);
  }

  /** Move what has come since the last call. */
  turn() {
    const board = this.#board;
    const usb = board.chip?.usb;
    const data = usb?.connected && usb.waiting < USB_ROOM ? take(this.#fd) : null;
    if (data) {
      this.counters.in += data.length;
      board.send(data);
    }
    if (board.output.length > 0) {
      const done = Math.max(0, put(this.#fd, Uint8Array.from(board.output)));
      this.counters.out += done;
      board.output.splice(0, done);
    }
    const reading = board.output.length === 0;
    if (reading !== board.usbReading) {
      board.hold(board.usbOpen, reading);
    }
  }
}

/** A UART of the board at a serial port or pseudo-terminal: `fd`, non-blocking, set up as raw. */
export class UartPort {
  #board;
  #uart;
  #fd;
  /** @type {number[]} */
  #out = [];
  /** @type {number[]} */
  #in = [];
  #receiving = false;
  counters = { in: 0, out: 0 };

  /** @param {Board} board @param {number} uart @param {number} fd */
  constructor(board, uart, fd) {
    this.#board = board;
    this.#uart = uart;
    this.#fd = fd;
    board.uartListeners[uart].push((byte) => this.#out.push(byte));
  }

  turn() {
    if (this.#out.length > 0) {
      const done = put(this.#fd, Uint8Array.from(this.#out));
      this.#out.splice(0, done < 0 ? this.#out.length : done);
      this.counters.out += Math.max(0, done);
    }
    const data = this.#in.length < CHUNK ? take(this.#fd) : null;
    if (data) {
      this.counters.in += data.length;
      this.#in.push(...data);
      this.#next();
    }
  }

  /** Let the next character arrive, at the pace of the line. */
  #next() {
    if (this.#receiving || this.#in.length === 0) {
      return;
    }
    this.#receiving = true;
    const start = this.#board.now;
    this.#board.timeline.after(this.#board.charNs(this.#uart), () => {
      this.#receiving = false;
      this.#board.receive(this.#uart, /** @type {number} */ (this.#in.shift()), start);
      this.#next();
    });
  }
}
