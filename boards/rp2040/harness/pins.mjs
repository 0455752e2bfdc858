/**
 * The levels of the pads: what the chip drives, what the outside drives, pulls, and open-drain devices. rp2040js
 * keeps input and output of a pin apart and has no pulls (docs/rp2040js.md); here a pad has one level, and the
 * chip reads it back.
 */

/**
 * @typedef {object} PinCalls
 * @property {(pin: number, level: number) => void} changed the level of a pin has changed
 */

export class Pins {
  #mcu;
  #calls;
  /** @type {(0 | 1 | null)[]} */
  #outside;
  /** @type {boolean[]} */
  #sunk = Array(30).fill(false);
  /** @type {number[]} */
  #levels = Array(30).fill(0);
  /** @type {(() => void)[][]} */
  #watchers = Array.from({ length: 30 }, () => []);

  /** @param {any} mcu @param {(0 | 1 | null)[]} outside levels driven from outside, kept by the board @param {PinCalls} calls */
  constructor(mcu, outside, calls) {
    this.#mcu = mcu;
    this.#outside = outside;
    this.#calls = calls;
    for (const gpio of mcu.gpio) {
      gpio.addListener(() => this.#settle(gpio.index));
      this.#settle(gpio.index);
    }
  }

  /** @param {number} pin */
  level(pin) {
    return this.#levels[pin];
  }

  /** The level outside of the chip has changed. @param {number} pin */
  refresh(pin) {
    this.#settle(pin);
  }

  /** Pull a pin low, or let it go, as an open-drain device does. @param {number} pin @param {boolean} low */
  sink(pin, low) {
    this.#sunk[pin] = low;
    this.#settle(pin);
  }

  /** Call when a pin changes. @param {number} pin @param {() => void} call */
  watch(pin, call) {
    this.#watchers[pin].push(call);
  }

  /** @param {number} pin */
  #settle(pin) {
    const gpio = this.#mcu.gpio[pin];
    const driven = gpio.outputEnable ? Number(gpio.outputValue) : null;
    const pull = gpio.pullupEnabled && !gpio.pulldownEnabled ? 1 : 0;
    const level = this.#sunk[pin] ? 0 : (driven ?? this.#outside[pin] ?? pull);
    if (level === this.#levels[pin]) {
      return;
    }
    this.#levels[pin] = level;
    gpio.setInputValue(level === 1);
    this.#calls.changed(pin, level);
    for (const call of this.#watchers[pin]) {
      call();
    }
  }
}
