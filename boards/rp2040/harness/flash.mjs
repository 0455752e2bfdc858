import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { Random } from './random.mjs';

export const SECTOR = 4096;
export const PAGE = 256;

/** Typical times of a W25Q16JV, in nanoseconds. */
const ERASE_NS = 45e6;
const PROGRAM_NS = 0.4e6;

/**
 * A power cut at the n-th operation (the erase of a sector or the program of a page), counted from the power-on.
 * `argument`: bytes that were done (torn), or the seed of the bits that were done (bits).
 * @typedef {{operation: number, mode: 'before' | 'torn' | 'bits' | 'after', argument: number}} Cut
 */

/**
 * The flash chip: the firmware, which nothing changes, and the file system, which is kept in a file. The file is
 * written with every operation, so that it is always what the chip holds.
 */
export class Flash {
  memory;
  /** @type {Cut | null} */
  cut = null;
  /** Operations since the power-on. */
  operations = 0;
  erases = 0;
  programs = 0;
  /** Programs that wanted to set a bit that is clear, which NOR flash cannot. */
  overwrites = 0;
  #fsOffset;
  #fsSize;
  #fd;
  #journal = -1;

  /**
   * journal: file for what each operation has left: its place in the file system and its length (two u32,
   * little-endian), then the bytes.
   * @param {{size: number, fsOffset: number, fsSize: number, firmware: string, image: string, journal?: string | null}} options
   */
  constructor({ size, fsOffset, fsSize, firmware, image, journal = null }) {
    this.#fsOffset = fsOffset;
    this.#fsSize = fsSize;
    this.memory = new Uint8Array(size).fill(0xff);
    const program = readFileSync(firmware);
    if (program.length > fsOffset) {
      throw new Error(`${firmware} is larger than the space before the file system`);
    }
    this.memory.set(program);
    if (!existsSync(image)) {
      writeFileSync(image, new Uint8Array(fsSize).fill(0xff));
    }
    const files = readFileSync(image);
    if (files.length !== fsSize) {
      throw new Error(`${image} has ${files.length} bytes, not the ${fsSize} of the board's file system`);
    }
    this.memory.set(files, fsOffset);
    this.#fd = openSync(image, 'r+');
    if (journal !== null) {
      this.#journal = openSync(journal, 'w');
    }
  }

  close() {
    closeSync(this.#fd);
    if (this.#journal >= 0) {
      closeSync(this.#journal);
    }
  }

  /**
   * Erase sectors: [nanoseconds, whether the power was cut].
   * @param {number} at @param {number} size
   * @returns {[number, boolean]}
   */
  erase(at, size) {
    this.#check(at, size, SECTOR);
    let nanos = 0;
    for (let sector = at; sector < at + size; sector += SECTOR) {
      this.erases++;
      if (this.#operate(sector, new Uint8Array(SECTOR).fill(0xff))) {
        return [nanos, true];
      }
      nanos += ERASE_NS;
    }
    return [nanos, false];
  }

  /**
   * Program pages: [nanoseconds, whether the power was cut].
   * @param {number} at @param {Uint8Array} data
   * @returns {[number, boolean]}
   */
  program(at, data) {
    this.#check(at, data.length, PAGE);
    let nanos = 0;
    for (let done = 0; done < data.length; done += PAGE) {
      this.programs++;
      const page = data.slice(done, done + PAGE);
      let wrong = 0;
      for (let i = 0; i < PAGE; i++) {
        const old = this.memory[at + done + i];
        wrong |= page[i] & ~old;
        page[i] &= old;
      }
      if (wrong) {
        this.overwrites++;
      }
      if (this.#operate(at + done, page)) {
        return [nanos, true];
      }
      nanos += PROGRAM_NS;
    }
    return [nanos, false];
  }

  /** @param {number} at @param {number} size @param {number} unit */
  #check(at, size, unit) {
    if (at < this.#fsOffset || at + size > this.#fsOffset + this.#fsSize || at % unit || size % unit) {
      throw new Error(`flash operation outside the file system: ${size} bytes at 0x${at.toString(16)}`);
    }
  }

  /** Bring one sector or page to its new content; true if the power was cut. @param {number} at @param {Uint8Array} content */
  #operate(at, content) {
    const cut = this.cut !== null && this.cut.operation === this.operations ? this.cut : null;
    this.operations++;
    if (cut !== null) {
      this.cut = null;
      content = partly(this.memory.subarray(at, at + content.length), content, cut);
    }
    this.memory.set(content, at);
    writeSync(this.#fd, content, 0, content.length, at - this.#fsOffset);
    if (this.#journal >= 0) {
      const head = Buffer.alloc(8);
      head.writeUInt32LE(at - this.#fsOffset, 0);
      head.writeUInt32LE(content.length, 4);
      writeSync(this.#journal, Buffer.concat([head, content]));
    }
    return cut !== null;
  }
}

/** What a cut leaves of an operation. @param {Uint8Array} old @param {Uint8Array} content @param {Cut} cut */
function partly(old, content, { mode, argument }) {
  const result = Uint8Array.from(old);
  if (mode === 'after') {
    result.set(content);
  } else if (mode === 'torn') {
    result.set(content.subarray(0, argument));
  } else if (mode === 'bits') {
    const random = new Random(String(argument));
    result.forEach((byte, i) => {
      const done = random.next() & 0xff;
      result[i] = (byte & ~done) | (content[i] & done);
    });
  }
  return result;
}
