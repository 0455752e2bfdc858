/** @typedef {import('./board.mjs').Board} Board */

const STEP_NS = 1e6; // between looks at the ports
const SLICE_MS = 8; // of wall time, before commands are heard again
const SLIP_NS = 100e6;

/** Runs the board at the pace of the wall clock, and moves what comes and goes at its ports. */
export class Pace {
  #board;
  #ports;
  #running = false;
  #wall = 0;
  #start = 0;
  /** Simulated time that was given up because the emulator was too slow, in nanoseconds. */
  slippedNs = 0;
  /** The most that the board was behind the wall clock, in nanoseconds. */
  behindNs = 0;

  /** @param {Board} board @param {{turn(): void}[]} ports */
  constructor(board, ports) {
    this.#board = board;
    this.#ports = ports;
  }

  get running() {
    return this.#running;
  }

  start() {
    if (!this.#running) {
      this.#running = true;
      this.#rebase();
      setImmediate(() => this.#turn());
    }
  }

  stop() {
    this.#running = false;
  }

  #rebase() {
    this.#wall = performance.now();
    this.#start = this.#board.now;
  }

  #turn() {
    if (!this.#running) {
      return;
    }
    const board = this.#board;
    const sliceEnd = performance.now() + SLICE_MS;
    let ahead = 0;
    do {
      for (const port of this.#ports) {
        port.turn();
      }
      ahead = board.now - this.#start - (performance.now() - this.#wall) * 1e6;
      if (ahead >= 0) {
        break;
      }
      this.behindNs = Math.max(this.behindNs, -ahead);
      if (ahead < -SLIP_NS) {
        this.slippedNs -= ahead;
        this.#rebase();
      }
      board.run(board.now + STEP_NS);
    } while (performance.now() < sliceEnd);
    board.log.flush();
    if (ahead >= 0) {
      setTimeout(() => this.#turn(), Math.max(1, ahead / 1e6));
    } else {
      setImmediate(() => this.#turn());
    }
  }
}
