/**
 * The emulated RP2040 as a process: commands come on stdin and are answered on stdout, one JSON object per line.
 * The options are the first line. gasan.boards.emulator is the other end.
 */

import { createInterface } from 'node:readline';
import { Board } from './board.mjs';
import { Commands } from './commands.mjs';
import { Flash } from './flash.mjs';
import { EventLog } from './log.mjs';
import { Pace } from './pace.mjs';
import { UartPort, UsbPort } from './ports.mjs';

/**
 * @typedef {object} Options
 * @property {string} firmware
 * @property {string} bootrom
 * @property {string} image of the file system; made when it is not there
 * @property {{size: number, fs_offset: number, fs_size: number}} flash
 * @property {string} seed
 * @property {string} uid 8 bytes, hexadecimal
 * @property {string | null} log
 * @property {number} log_limit bytes
 * @property {string | null} journal of the flash operations
 * @property {number | null} usb descriptor of a socket that is the USB port
 * @property {Record<string, number>} uarts descriptors
 */

// rp2040js prints some complaints past its logger, without limit; stdout is for answers only.
let complaints = 0;
console.log = console.warn = console.error = () => void complaints++;

/** @param {object} answer */
function say(answer) {
  process.stdout.write(JSON.stringify(answer) + '\n');
}

/** @param {Options} options */
function setUp(options) {
  const { flash } = options;
  const board = new Board({
    bootrom: options.bootrom,
    flash: new Flash({
      size: flash.size,
      fsOffset: flash.fs_offset,
      fsSize: flash.fs_size,
      firmware: options.firmware,
      image: options.image,
      journal: options.journal,
    }),
    seed: options.seed,
    uid: Buffer.from(options.uid, 'hex'),
    log: (now) => new EventLog(options.log, options.log_limit, now),
  });
  const usb = options.usb === null ? null : new UsbPort(board, options.usb);
  const uarts = Object.entries(options.uarts).map(([uart, fd]) => new UartPort(board, Number(uart), fd));
  const pace = new Pace(board, usb === null ? uarts : [usb, ...uarts]);
  return new Commands(board, pace, usb, () => complaints);
}

/** @type {Commands | null} */
let commands = null;
const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
lines.on('line', (line) => {
  try {
    const request = JSON.parse(line);
    if (commands === null) {
      commands = setUp(request);
      say({ ok: true });
    } else {
      say({ ok: true, ...commands.do(request) });
    }
  } catch (error) {
    say({ ok: false, error: error instanceof Error ? error.message : String(error) });
  }
});
lines.on('close', () => {
  commands?.end();
  process.exit(0);
});
