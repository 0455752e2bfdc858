import { closeSync, openSync, writeSync } from 'node:fs';

const FLUSH_BYTES = 1 << 14;

/**
 * The events of a run as JSON lines: `t` is nanoseconds of simulated time since the start of the run. The file is
 * bounded: when it is full, one event says so and later ones are only counted.
 */
export class EventLog {
  #fd = -1;
  #buffer = '';
  #size = 0;
  #limit;
  #now;
  dropped = 0;

  /** @param {string | null} path @param {number} limit bytes @param {() => number} now */
  constructor(path, limit, now) {
    this.#limit = limit;
    this.#now = now;
    if (path !== null) {
      this.#fd = openSync(path, 'w');
    }
  }

  /** @param {string} event @param {Record<string, unknown>} [data] @param {number} [at] */
  add(event, data = {}, at = this.#now()) {
    if (this.#fd < 0) {
      return;
    }
    if (this.#size >= this.#limit) {
      this.dropped++;
      return;
    }
    let line = JSON.stringify({ t: Math.round(at), event, ...data }) + '\n';
    this.#size += line.length;
    if (this.#size >= this.#limit) {
      line += JSON.stringify({ t: Math.round(at), event: 'log-full' }) + '\n';
    }
    this.#buffer += line;
    if (this.#buffer.length >= FLUSH_BYTES) {
      this.flush();
    }
  }

  flush() {
    if (this.#fd >= 0 && this.#buffer) {
      writeSync(this.#fd, this.#buffer);
      this.#buffer = '';
    }
  }

  close() {
    this.flush();
    if (this.#fd >= 0) {
      closeSync(this.#fd);
      this.#fd = -1;
    }
  }
}
