/** What the stand-in boot ROM leaves to the emulator (firmware/bootrom.S has the same numbers). */

const ROM_SIZE = 0x4000;
const ERASE = 0x12;
const PROGRAM = 0x13;
const USB_BOOT = 0x16;
const NOTHING = new Set([0x10, 0x11, 0x14, 0x15]); // connect, exit XIP, flush the cache, enter XIP

/**
 * @typedef {object} RomCalls
 * @property {(at: number, size: number) => void} erase
 * @property {(at: number, data: Uint8Array) => void} program
 * @property {() => void} bootloader
 * @property {(message: string) => void} fault
 */

/** Answer the chip's breakpoints. @param {any} mcu @param {RomCalls} calls */
export function answerBreakpoints(mcu, calls) {
  mcu.onBreak = (/** @type {number} */ number) => {
    const { registers } = mcu.core;
    const at = registers[15] - 2;
    if (at >= ROM_SIZE || !(NOTHING.has(number) || [ERASE, PROGRAM, USB_BOOT].includes(number))) {
      const hex = (/** @type {number} */ value) => '0x' + value.toString(16).padStart(8, '0');
      calls.fault(
        `the chip stopped at breakpoint ${number} at ${hex(at)} (called from ${hex(registers[14])}): ` +
          'a hard fault or a panic of the firmware',
      );
    } else if (number === ERASE) {
      calls.erase(registers[0], registers[1]);
    } else if (number === PROGRAM) {
      const [to, from, size] = registers;
      calls.program(to, Uint8Array.from({ length: size }, (_, i) => mcu.readUint8(from + i)));
    } else if (number === USB_BOOT) {
      calls.bootloader();
    }
  };
}
