/**
 * One clock for a whole run: simulated nanoseconds since its start, across resets and power cuts. The chip's own
 * clock begins anew with every start of the chip; what belongs to the world outside waits here.
 */

/** Something that waits for its time. */
class Task {
  /** @param {number} at @param {() => void} call */
  constructor(at, call) {
    this.at = at;
    this.call = call;
    this.cancelled = false;
  }

  cancel() {
    this.cancelled = true;
  }
}

export class Timeline {
  #base = 0;
  /** @type {Task[]} by time, the next one last */
  #tasks = [];
  /** @type {any} the chip's clock; rp2040js keeps its counter and its list of alarms private */
  #clock = null;
  /** @type {any} */
  #alarm = null;

  /** Nanoseconds since the start of the run. */
  get now() {
    return this.#clock === null ? this.#base : this.#base + this.#clock.nanosCounter;
  }

  /** When the next task is due. */
  get next() {
    const task = this.#tasks.at(-1);
    return task === undefined ? Infinity : task.at;
  }

  /** Follow the clock of a chip that has just been started. @param {any} clock */
  attach(clock) {
    this.detach();
    this.#clock = clock;
    this.#alarm = clock.createAlarm(() => this.#fire());
    this.#arm();
  }

  /** The chip is gone. */
  detach() {
    this.#base = this.now;
    this.#clock = this.#alarm = null;
  }

  /** Let time pass while there is no chip. @param {number} to */
  advance(to) {
    while (this.next <= to) {
      this.#base = Math.max(this.#base, this.next);
      this.#fire();
    }
    this.#base = Math.max(this.#base, to);
  }

  /** Call something after so many nanoseconds. @param {number} nanos @param {() => void} call */
  after(nanos, call) {
    const task = new Task(this.now + nanos, call);
    let index = this.#tasks.length;
    while (index > 0 && this.#tasks[index - 1].at <= task.at) {
      index--;
    }
    this.#tasks.splice(index, 0, task);
    if (index === this.#tasks.length - 1) {
      this.#arm();
    }
    return task;
  }

  #arm() {
    if (this.#alarm !== null && this.#tasks.length > 0) {
      this.#alarm.schedule(Math.max(0, this.next - this.now));
    }
  }

  #fire() {
    for (let task = this.#tasks.at(-1); task !== undefined && task.at <= this.now; task = this.#tasks.at(-1)) {
      this.#tasks.pop();
      if (!task.cancelled) {
        task.call();
      }
    }
    this.#arm();
  }
}
