import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Flash } from '../harness/flash.mjs';

/** A flash with 8 KB of file system behind 4 KB of firmware. @param {(flash: Flash, image: string) => void} use */
function withFlash(use) {
  const folder = mkdtempSync(join(tmpdir(), 'gasan-'));
  try {
    const [firmware, image] = [join(folder, 'firmware'), join(folder, 'image')];
    writeFileSync(firmware, Buffer.alloc(100, 7));
    const flash = new Flash({ size: 12288, fsOffset: 4096, fsSize: 8192, firmware, image });
    use(flash, image);
    flash.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const page = (/** @type {number} */ byte) => new Uint8Array(256).fill(byte);

test('programs clear bits, erases set them, the file follows at once', () => {
  withFlash((flash, image) => {
    flash.program(4096, page(0x0f));
    flash.program(4096, page(0xf1));
    assert.equal(flash.memory[4096], 0x01);
    assert.equal(flash.overwrites, 1);
    assert.equal(readFileSync(image)[0], 0x01);
    assert.deepEqual(flash.erase(4096, 4096), [45e6, false]);
    assert.equal(readFileSync(image)[0], 0xff);
    assert.deepEqual([flash.operations, flash.erases, flash.programs], [3, 1, 2]);
  });
});

test('the journal holds what each operation has left', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gasan-'));
  try {
    const [firmware, image, journal] = ['firmware', 'image', 'journal'].map((name) => join(folder, name));
    writeFileSync(firmware, Buffer.alloc(100, 7));
    const flash = new Flash({ size: 12288, fsOffset: 4096, fsSize: 8192, firmware, image, journal });
    flash.erase(4096, 4096);
    flash.cut = { operation: 1, mode: 'torn', argument: 2 };
    flash.program(8192, page(0x0f));
    flash.close();
    const noted = readFileSync(journal);
    assert.deepEqual([noted.readUInt32LE(0), noted.readUInt32LE(4)], [0, 4096]);
    assert.equal(noted[8 + 4095], 0xff);
    const second = noted.subarray(8 + 4096);
    assert.deepEqual([second.readUInt32LE(0), second.readUInt32LE(4), second.length], [4096, 256, 264]);
    assert.deepEqual([...second.subarray(8, 11)], [0x0f, 0x0f, 0xff]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the firmware cannot be touched', () => {
  withFlash((flash) => {
    assert.throws(() => flash.erase(0, 4096), /outside the file system/);
    assert.throws(() => flash.program(4000, page(0)), /outside the file system/);
  });
});

test('a cut comes before, inside or after its operation, and ends a longer one there', () => {
  for (const [mode, argument, done] of /** @type {const} */ ([
    ['before', 0, 0],
    ['torn', 10, 10],
    ['after', 0, 256],
  ])) {
    withFlash((flash) => {
      flash.cut = { operation: 1, mode, argument };
      const [, cut] = flash.program(4096, new Uint8Array(768));
      assert.ok(cut);
      assert.equal(flash.memory.subarray(4096, 8192).filter((byte) => byte === 0).length, 256 + done);
    });
  }
  withFlash((flash) => {
    flash.cut = { operation: 0, mode: 'bits', argument: 3 };
    flash.program(4096, page(0));
    const ones = flash.memory.subarray(4096, 4352).reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0);
    assert.ok(ones > 800 && ones < 1250, `${ones} of 2048 bits are left`);
  });
});
