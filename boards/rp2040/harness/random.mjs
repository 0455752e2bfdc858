import { createHash } from 'node:crypto';

/** Reproducible random numbers (xoshiro128**, Blackman and Vigna) after a seed of any text. */
export class Random {
  #state;

  /** @param {string} seed */
  constructor(seed) {
    const digest = createHash('sha256').update(seed).digest();
    this.#state = new Uint32Array([0, 4, 8, 12].map((at) => digest.readUint32LE(at)));
  }

  /** 32 random bits. */
  next() {
    const s = this.#state;
    const product = Math.imul(s[1], 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }
}
