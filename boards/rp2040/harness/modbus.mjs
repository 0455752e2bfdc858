/** @typedef {import('./board.mjs').Board} Board */

const READS = [3, 4];
const REQUEST = 8;

/**
 * Modbus RTU slaves at the board's UART that answer at the first moment that the specification allows, on the
 * simulation clock. A register with an even address holds tag(unit, address), one with an odd address the serial
 * number of the request, as in gasan.hil.rs485.responder.
 */
export class ModbusLine {
  #board;
  #uart;
  #units;
  #silent;
  #turnaroundNs;
  #pin;
  /** @type {number[]} */
  #request = [];
  #requestStart = 0;
  #lastEnd = 0;
  requests = 0;
  answers = 0;
  /** Request characters that were sent while the line was not driven. */
  undriven = 0;
  /** Answers that began while the board still drove the line. */
  collisions = 0;
  /** The least time that the answered transactions take, and the time that they took. */
  leastNs = 0;
  firstNs = 0;
  lastNs = 0;
  /** Most nanoseconds between the end of a request and the moment at which the board let the line go. */
  releaseNs = 0;

  /**
   * @param {Board} board
   * @param {{uart: number, units: number[], silent?: number[], turnaround_us?: number, de_pin?: number | null}} options
   */
  constructor(board, { uart, units, silent = [], turnaround_us = 0, de_pin = null }) {
    this.#board = board;
    this.#uart = uart;
    this.#units = new Set(units);
    this.#silent = new Set(silent);
    this.#turnaroundNs = turnaround_us * 1000;
    this.#pin = de_pin;
    board.uartListeners[uart].push((byte, start, end) => this.#sent(byte, start, end));
    board.pinListeners.push((pin, level) => {
      if (pin === this.#pin && level === 0 && this.#lastEnd > 0) {
        this.releaseNs = Math.max(this.releaseNs, board.now - this.#lastEnd);
      }
    });
  }

  get status() {
    return {
      requests: this.requests,
      answers: this.answers,
      undriven: this.undriven,
      collisions: this.collisions,
      least_ns: Math.round(this.leastNs),
      first_ns: Math.round(this.firstNs),
      last_ns: Math.round(this.lastNs),
      release_ns: Math.round(this.releaseNs),
    };
  }

  /** Silence between frames: 3.5 characters, fixed above 19200 baud (Serial Line V1.02, 2.5.1.1). */
  get #gapNs() {
    const char = this.#board.charNs(this.#uart);
    return char < 1e9 / 1920 ? 1.75e6 : char * 3.5;
  }

  get #drives() {
    return this.#pin === null || this.#board.chip?.pins.level(this.#pin) === 1;
  }

  /** @param {number} byte @param {number} start @param {number} end */
  #sent(byte, start, end) {
    if (start - this.#lastEnd > this.#gapNs * 0.9) {
      this.#request = [];
    }
    if (this.#request.length === 0) {
      this.#requestStart = start;
    }
    this.#lastEnd = end;
    this.#request.push(byte);
    if (!this.#drives) {
      this.undriven++;
    }
    if (this.#request.length === REQUEST && crc(this.#request) === 0) {
      this.#serve(Buffer.from(this.#request), end);
    }
  }

  /** @param {Buffer} request @param {number} end */
  #serve(request, end) {
    const [unit, function_] = request;
    if (!this.#units.has(unit)) {
      return;
    }
    const serial = this.requests++;
    this.firstNs ||= this.#requestStart;
    const [register, count] = [request.readUint16BE(2), request.readUint16BE(4)];
    this.#board.log.add('modbus', { unit, function: function_, register, count, serial }, end);
    if (this.#silent.has(unit)) {
      return;
    }
    const answer = [unit, function_];
    if (!READS.includes(function_)) {
      answer[1] |= 0x80;
      answer.push(1);
    } else if (count < 1 || count > 125) {
      answer[1] |= 0x80;
      answer.push(2);
    } else {
      answer.push(2 * count);
      for (let at = register; at < register + count; at++) {
        const word = at & 1 ? serial & 0xffff : ((unit * 0x101) ^ (at * 0x9e37) ^ 0x5a5a) & 0xffff;
        answer.push(word >> 8, word & 0xff);
      }
    }
    const sum = crc(answer);
    answer.push(sum & 0xff, sum >> 8);
    this.#board.timeline.after(this.#gapNs + this.#turnaroundNs, () => {
      if (this.#pin !== null && this.#drives) {
        this.collisions++;
      }
      this.#answer(answer, 0);
    });
    this.leastNs += (REQUEST + answer.length) * this.#board.charNs(this.#uart) + 2 * this.#gapNs;
  }

  /** Send the rest of an answer. @param {number[]} answer @param {number} index */
  #answer(answer, index) {
    const start = this.#board.now;
    this.#board.timeline.after(this.#board.charNs(this.#uart), () => {
      this.#board.receive(this.#uart, answer[index], start);
      if (index + 1 < answer.length) {
        this.#answer(answer, index + 1);
      } else {
        this.answers++;
        this.lastNs = this.#board.now + this.#gapNs;
      }
    });
  }
}

/** CRC-16 of Modbus; 0 over a whole frame. @param {ArrayLike<number>} data */
function crc(data) {
  let sum = 0xffff;
  for (let i = 0; i < data.length; i++) {
    sum ^= data[i];
    for (let bit = 0; bit < 8; bit++) {
      sum = sum & 1 ? (sum >> 1) ^ 0xa001 : sum >> 1;
    }
  }
  return sum;
}
