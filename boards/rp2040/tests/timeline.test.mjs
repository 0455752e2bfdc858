import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RP2040 } from 'rp2040js';
import { Timeline } from '../harness/timeline.mjs';

test('tasks come in their order, with and without a chip, across its restarts', () => {
  const timeline = new Timeline();
  /** @type {[string, number][]} */
  const seen = [];
  const note = (/** @type {string} */ name) => () => seen.push([name, timeline.now]);
  timeline.after(300, note('c'));
  timeline.after(100, note('a'));
  timeline.after(200, note('cancelled')).cancel();
  timeline.after(100, note('b'));
  timeline.advance(150);
  /** @type {any} */
  let clock = new RP2040().clock;
  timeline.attach(clock);
  clock.tick(50);
  assert.equal(timeline.now, 200);
  clock = new RP2040().clock;
  timeline.attach(clock);
  timeline.after(50, note('d'));
  clock.tick(1000);
  assert.deepEqual(seen, [['a', 100], ['b', 100], ['d', 250], ['c', 300]]);
  timeline.detach();
  assert.equal(timeline.now, 1200);
});
