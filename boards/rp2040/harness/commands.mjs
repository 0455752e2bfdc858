import { ModbusLine } from './modbus.mjs';

/** @typedef {import('./board.mjs').Board} Board */
/** @typedef {import('./pace.mjs').Pace} Pace */
/** @typedef {import('./ports.mjs').UsbPort} UsbPort */

/** What a driver may ask of the board; each answers with an object. */
export class Commands {
  #board;
  #pace;
  #usb;
  #complaints;
  /** @type {ModbusLine | null} */
  #modbus = null;
  /** @type {Record<string, (request: any) => object>} */
  #verbs;

  /** @param {Board} board @param {Pace} pace @param {UsbPort | null} usb @param {() => number} complaints */
  constructor(board, pace, usb, complaints) {
    this.#board = board;
    this.#pace = pace;
    this.#usb = usb;
    this.#complaints = complaints;
    this.#verbs = {
      on: ({ cut }) => this.#done(() => board.on(cut ?? null)),
      off: () => this.#done(() => board.off()),
      cut: ({ cut }) => this.#done(() => (board.flash.cut = { ...cut, operation: board.flash.operations + cut.operation })),
      reset: () => this.#done(() => board.reset()),
      plug: (request) => this.#done(() => board.plug(request.in)),
      host: ({ open, reading }) => this.#done(() => board.hold(open, reading ?? board.usbReading)),
      pins: ({ levels }) => this.#done(() => this.#drive(levels)),
      level: ({ pin }) => ({ level: board.chip?.pins.level(pin) ?? 0 }),
      analogue: ({ values }) => this.#done(() => Object.assign(board.analogue, values)),
      i2c: ({ bus, address, registers }) =>
        this.#done(() => board.addDevice(bus, address).registers.set(Buffer.from(registers, 'hex'))),
      modbus: (options) => this.#done(() => (this.#modbus = new ModbusLine(board, options))),
      uart: ({ uart, data }) => this.#done(() => this.#feed(uart, Buffer.from(data, 'hex'))),
      pace: ({ on }) => this.#done(() => (on ? pace.start() : pace.stop())),
      run: (request) => this.#run(request),
      status: () => this.#status(),
      sync: () => this.#done(() => board.log.flush()),
    };
  }

  /** @param {{do: string}} request */
  do(request) {
    const verb = this.#verbs[request.do];
    if (verb === undefined) {
      throw new Error(`no such command: ${request.do}`);
    }
    return verb(request);
  }

  /** The driver is gone. */
  end() {
    this.#pace.stop();
    this.#board.off();
    this.#board.log.close();
    this.#board.flash.close();
  }

  /** @param {() => unknown} call */
  #done(call) {
    call();
    return {};
  }

  /** @param {Record<string, 0 | 1 | null>} levels */
  #drive(levels) {
    for (const [pin, level] of Object.entries(levels)) {
      this.#board.drive(Number(pin), level);
    }
  }

  /** Let characters arrive at a UART, one after the other. @param {number} uart @param {Buffer} data */
  #feed(uart, data) {
    const board = this.#board;
    const start = board.now;
    board.timeline.after(board.charNs(uart), () => {
      board.receive(uart, data[0], start);
      if (data.length > 1) {
        this.#feed(uart, data.subarray(1));
      }
    });
  }

  /** @param {{until_ns: number, stops: import('./board.mjs').Reason[], usb: string, wall_ms: number}} request */
  #run({ until_ns, stops, usb, wall_ms }) {
    const board = this.#board;
    if (this.#pace.running) {
      throw new Error('the board runs at the pace of the wall clock');
    }
    if (usb) {
      board.send(Buffer.from(usb, 'base64'));
    }
    const reason = board.run(until_ns, stops, wall_ms);
    const said = Buffer.from(board.output).toString('base64');
    board.output = [];
    return {
      now: Math.round(board.now),
      reason,
      usb: said,
      power: board.power,
      fault: board.faultMessage,
      instructions: board.instructions,
      cycles: board.cycles,
      operations: board.flash.operations,
    };
  }

  #status() {
    const board = this.#board;
    const { flash, chip } = board;
    return {
      now: Math.round(board.now),
      power: board.power,
      fault: board.faultMessage,
      paced: this.#pace.running,
      behind_ns: Math.round(this.#pace.behindNs),
      slipped_ns: Math.round(this.#pace.slippedNs),
      instructions: board.instructions,
      cycles: board.cycles,
      busy_ns: Math.round(board.busyNs),
      starts: board.starts,
      boots: Object.values(board.starts).reduce((sum, n) => sum + n, 0),
      flash: {
        programs: flash.programs,
        erases: flash.erases,
        overwrites: flash.overwrites,
        operations: flash.operations,
      },
      overruns: board.overruns.map((n, i) => n + (chip?.uarts[i].overruns ?? 0)),
      usb: {
        connected: chip?.usb.connected ?? false,
        plugged: board.usbPlugged,
        held: chip?.usb.held ?? false,
        open: board.usbOpen,
        ...this.#usb?.counters,
      },
      modbus: this.#modbus?.status ?? null,
      oddities: board.oddities,
      complaints: this.#complaints(),
      log_dropped: board.log.dropped,
    };
  }
}
