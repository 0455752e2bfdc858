import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RP2040 } from 'rp2040js';
import { Uart } from '../harness/uart.mjs';

const [DR, FR, IBRD, FBRD, LCR, CR, IFLS, IMSC, MIS] = [0, 0x18, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x38, 0x40];
const [RX, TX, TIMEOUT, OVERRUN] = [0x10, 0x20, 0x40, 0x400];

/** A UART at 9600 baud, 8N1, with FIFOs, and what leaves it. */
function line() {
  /** @type {any} */
  const mcu = new RP2040();
  /** @type {[number, number, number][]} */
  const sent = [];
  const uart = new Uart(mcu, 21, () => mcu.clock.nanos, (byte, start, end) => sent.push([byte, start, end]));
  uart.writeUint32(IBRD, 813);
  uart.writeUint32(FBRD, 51);
  uart.writeUint32(LCR, 0x70);
  uart.writeUint32(CR, 0x301);
  uart.writeUint32(IMSC, 0x7ff);
  return { mcu, uart, sent, clock: mcu.clock };
}

test('characters leave one after the other, each in its time', () => {
  const { uart, sent, clock } = line();
  for (const byte of [1, 2, 3]) {
    uart.writeUint32(DR, byte);
  }
  assert.ok(uart.readUint32(FR) & 8, 'busy');
  clock.tick(4e6);
  assert.deepEqual(sent.map(([byte]) => byte), [1, 2, 3]);
  for (const [i, [, start, end]] of sent.entries()) {
    assert.ok(Math.abs(start - (i * 1e10) / 9600) < 300 && Math.abs(end - ((i + 1) * 1e10) / 9600) < 300);
  }
  assert.equal(uart.readUint32(FR) & 8, 0);
});

test('parity and a second stop bit make characters longer', () => {
  const { uart } = line();
  uart.writeUint32(LCR, 0x70 | 2 | 8);
  assert.equal(uart.charBits, 12);
});

test('the transmit interrupt comes when the FIFO has drained to its level, once', () => {
  const { uart, clock } = line();
  uart.writeUint32(IFLS, 0x10); // an eighth: 4 characters
  for (let i = 0; i < 8; i++) {
    uart.writeUint32(DR, i);
  }
  assert.equal(uart.readUint32(MIS) & TX, 0);
  clock.tick(3.5e6);
  assert.equal(uart.readUint32(MIS) & TX, TX);
  uart.writeUint32(0x44, TX);
  clock.tick(10e6);
  assert.equal(uart.readUint32(MIS) & TX, 0);
});

test('reception: threshold, timeout, overrun', () => {
  const { uart, clock } = line();
  uart.receive(0x41);
  assert.equal(uart.readUint32(MIS), 0);
  clock.tick((32 * 1e9) / 9600 + 1000);
  assert.equal(uart.readUint32(MIS), TIMEOUT);
  assert.equal(uart.readUint32(DR), 0x41);
  assert.equal(uart.readUint32(MIS), 0);
  for (let i = 0; i < 33; i++) {
    uart.receive(i);
  }
  assert.equal(uart.readUint32(MIS), RX | OVERRUN);
  assert.equal(uart.overruns, 1);
  for (let i = 0; i < 32; i++) {
    assert.equal(uart.readUint32(DR) & 0xff, i);
  }
  uart.receive(99);
  assert.equal(uart.readUint32(DR), 99 | 0x800, 'the character after the lost one says so');
});
