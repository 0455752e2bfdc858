/** @typedef {import('./log.mjs').EventLog} EventLog */
/** @typedef {import('./timeline.mjs').Timeline} Timeline */

const GAP_NS = 2e6;

/**
 * Writes what passes on a UART to the event log, a burst of characters as one event: `t` is the start of its first
 * character, `until` the end of its last.
 */
export class LineLog {
  #uart;
  #timeline;
  #log;
  /** @type {Record<string, {from: number, until: number, bytes: number[]} | null>} */
  #bursts = { tx: null, rx: null };

  /** @param {number} uart @param {Timeline} timeline @param {EventLog} log */
  constructor(uart, timeline, log) {
    this.#uart = uart;
    this.#timeline = timeline;
    this.#log = log;
  }

  /** @param {'tx' | 'rx'} direction @param {number} byte @param {number} start @param {number} end */
  add(direction, byte, start, end) {
    const burst = this.#bursts[direction];
    if (burst !== null) {
      burst.bytes.push(byte);
      burst.until = end;
    } else {
      this.#bursts[direction] = { from: start, until: end, bytes: [byte] };
      this.#look(direction, GAP_NS);
    }
  }

  /** Write the burst when nothing has followed it for a while. @param {string} direction @param {number} nanos */
  #look(direction, nanos) {
    this.#timeline.after(nanos, () => {
      const burst = this.#bursts[direction];
      if (burst === null) {
        return;
      }
      const left = burst.until + GAP_NS - this.#timeline.now;
      if (left > 0) {
        this.#look(direction, left);
        return;
      }
      this.#bursts[direction] = null;
      const data = Buffer.from(burst.bytes).toString('hex');
      this.#log.add('uart', { uart: this.#uart, direction, until: Math.round(burst.until), data }, burst.from);
    });
  }
}
