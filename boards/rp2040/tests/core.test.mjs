import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RP2040 } from 'rp2040js';
import { quickCore } from '../harness/core.mjs';
import { Random } from '../harness/random.mjs';

const FLASH = 0x10000000;
const RAM = 0x20000000;
const ROUNDS = 150_000;

/** Ranges of opcodes that need more than registers and RAM, or in which rp2040js is wrong. */
const LEFT_OUT = [
  [0x4140, 0x41bf], // ADCS, SBCS
  [0x4780, 0x47ff], // BLX
  [0xb600, 0xb6ff], // CPS
  [0xbe00, 0xbfff], // BKPT, hints
  [0xde00, 0xdfff], // UDF, SVC
  [0xe800, 0xffff], // 32 bits
];

function chip() {
  /** @type {any} */
  const mcu = new RP2040();
  mcu.logger = { debug() {}, info() {}, warn() {}, error() {} };
  return mcu;
}

test('the quick way comes to what rp2040js comes to', () => {
  const [a, b] = [chip(), chip()];
  const step = quickCore(b);
  const random = new Random('core');
  let compared = 0;
  while (compared < ROUNDS) {
    const opcode = random.next() & 0xffff;
    if (LEFT_OUT.some(([first, last]) => opcode >= first && opcode <= last)) {
      continue;
    }
    compared++;
    const flags = random.next();
    const values = Array.from({ length: 15 }, () => {
      const kind = random.next() % 4;
      // Addresses in RAM, small numbers, and anything else but addresses of peripherals.
      const value = random.next();
      return kind < 2 ? RAM + 0x1000 + (value & 0x3ffc) : value & (kind === 2 ? 0xff : 0x0fffffff);
    });
    values[13] = RAM + 0x8000 + (random.next() & 0x3fc);
    for (const mcu of [a, b]) {
      mcu.flash16[0x100] = opcode;
      mcu.core.registers.set(values);
      mcu.core.PC = FLASH + 0x200;
      mcu.core.N = (flags & 1) !== 0;
      mcu.core.Z = (flags & 2) !== 0;
      mcu.core.C = (flags & 4) !== 0;
      mcu.core.V = (flags & 8) !== 0;
      mcu.core.interruptsUpdated = false;
    }
    const taken = [a.core.executeInstruction(), step()];
    const label = `opcode 0x${opcode.toString(16)}, registers ${values.map((v) => v.toString(16))}, flags ${flags & 15}`;
    assert.equal(taken[1], taken[0], `cycles of ${label}`);
    assert.deepEqual([...b.core.registers], [...a.core.registers], label);
    const state = (/** @type {any} */ { core }) => [core.N, core.Z, core.C, core.V, core.cycles];
    assert.deepEqual(state(b), state(a), label);
  }
  assert.ok(Buffer.compare(a.sram, b.sram) === 0, 'the RAM differs');
});

test('carry and overflow of ADCS and SBCS are those of the architecture', () => {
  const mcu = chip();
  const step = quickCore(mcu);
  const edges = [0, 1, 0x7ffffffe, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffffe, 0xffffffff];
  for (const [opcode, invert] of /** @type {const} */ ([[0x4148, false], [0x4188, true]])) { // r0, r1
    for (const x of edges) {
      for (const y of edges) {
        for (const carry of [0, 1]) {
          mcu.flash16[0] = opcode;
          mcu.core.registers[0] = x;
          mcu.core.registers[1] = y;
          mcu.core.PC = FLASH;
          mcu.core.C = carry === 1;
          step();
          const other = invert ? ~y >>> 0 : y;
          const sum = BigInt(x) + BigInt(other) + BigInt(carry);
          const signed = BigInt(x | 0) + BigInt(other | 0) + BigInt(carry);
          const result = Number(sum & 0xffffffffn);
          assert.equal(mcu.core.registers[0], result);
          assert.deepEqual([mcu.core.C, mcu.core.V], [sum > 0xffffffffn, signed !== BigInt(result | 0)]);
        }
      }
    }
  }
});
