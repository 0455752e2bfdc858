/**
 * I2C devices: memories with a register pointer, at the chip's two controllers and, bit by bit, at their pins.
 * MicroPython's `scan()` writes nothing to each address, which the controller cannot; it moves the pins itself.
 */

/** @typedef {import('./timeline.mjs').Timeline} Timeline */
/** @typedef {import('./pins.mjs').Pins} Pins */

const TX_EMPTY = 1 << 4;

/** A device with 256 registers: the first byte written is the register, the next go there. */
export class Device {
  registers = new Uint8Array(256);
  #pointer = 0;
  #addressed = false;

  start() {
    this.#addressed = false;
  }

  /** @param {number} byte */
  write(byte) {
    if (this.#addressed) {
      this.registers[this.#pointer] = byte;
      this.#pointer = (this.#pointer + 1) & 0xff;
    } else {
      this.#pointer = byte;
      this.#addressed = true;
    }
  }

  read() {
    const byte = this.registers[this.#pointer];
    this.#pointer = (this.#pointer + 1) & 0xff;
    return byte;
  }
}

/** Devices by address. @typedef {Map<number, Device>} Devices */

/** Connect devices to a controller of the chip. @param {any} i2c @param {Devices} devices @param {Timeline} timeline */
export function attachController(i2c, devices, timeline) {
  /** @type {Device | undefined} */
  let device;
  const byteNs = () => (i2c.speed === 1 ? 90e3 : 22.5e3); // 9 bits at 100 or 400 kHz
  // rp2040js leaves TX_EMPTY clear when it flushes the FIFO of an aborted transfer, and the driver waits for it.
  const abort = i2c.abort.bind(i2c);
  i2c.abort = (/** @type {number} */ reason) => {
    abort(reason);
    i2c.setInterrupts(TX_EMPTY);
  };
  i2c.onConnect = (/** @type {number} */ address) => {
    device = devices.get(address);
    device?.start();
    timeline.after(byteNs(), () => i2c.completeConnect(device !== undefined));
  };
  i2c.onWriteByte = (/** @type {number} */ byte) => {
    device?.write(byte);
    timeline.after(byteNs(), () => i2c.completeWrite(device !== undefined));
  };
  i2c.onReadByte = () => {
    const byte = device?.read() ?? 0xff;
    timeline.after(byteNs(), () => i2c.completeRead(byte));
  };
}

/** Connect devices to a pair of pins that a program moves itself. */
export class BitBus {
  #pins;
  #sda;
  #scl;
  #devices;
  #wasSda = 1;
  #wasScl = 1;
  #bits = -1; // received or sent of the current byte; -1: no transfer
  #byte = 0;
  #reading = false;
  /** @type {Device | undefined} */
  #device;

  /** @param {Pins} pins @param {number} sda the even pin; SCL is the next @param {Devices} devices */
  constructor(pins, sda, devices) {
    this.#pins = pins;
    this.#sda = sda;
    this.#scl = sda + 1;
    this.#devices = devices;
    pins.watch(this.#sda, () => this.#edge());
    pins.watch(this.#scl, () => this.#edge());
  }

  #edge() {
    const sda = this.#pins.level(this.#sda);
    const scl = this.#pins.level(this.#scl);
    const [wasSda, wasScl] = [this.#wasSda, this.#wasScl];
    this.#wasSda = sda;
    this.#wasScl = scl;
    if (wasScl && scl && wasSda !== sda) {
      this.#bits = sda ? -1 : 0; // stop or start
      this.#byte = 0;
      this.#device = undefined;
      this.#reading = false;
      this.#address = true;
    } else if (this.#bits >= 0 && !wasScl && scl) {
      this.#rise(sda);
    } else if (this.#bits >= 0 && wasScl && !scl) {
      this.#fall();
    }
  }

  #address = true;

  /** @param {number} sda */
  #rise(sda) {
    if (this.#bits < 8) {
      this.#byte = ((this.#byte << 1) | sda) & 0xff;
    } else if (this.#reading && !this.#address) {
      this.#device = sda ? undefined : this.#device; // the master ends a read by not acknowledging
    }
    this.#bits++;
  }

  #fall() {
    if (this.#bits === 8) {
      this.#whole();
    } else if (this.#bits === 9) {
      this.#bits = 0;
      this.#address = false;
      this.#byte = this.#reading && this.#device ? this.#device.read() : 0;
      this.#send();
    } else {
      this.#send();
    }
  }

  /** Eight bits have passed: acknowledge them, or leave the line to the master. */
  #whole() {
    if (this.#address) {
      this.#device = this.#devices.get(this.#byte >> 1);
      this.#device?.start();
      this.#reading = (this.#byte & 1) === 1;
      this.#pins.sink(this.#sda, this.#device !== undefined);
    } else if (this.#reading) {
      this.#pins.sink(this.#sda, false);
    } else {
      this.#device?.write(this.#byte);
      this.#pins.sink(this.#sda, this.#device !== undefined);
    }
  }

  /** Put the next bit of a read on the line. */
  #send() {
    const low = this.#reading && !this.#address && this.#device !== undefined && !(this.#byte & 0x80);
    this.#pins.sink(this.#sda, low);
  }
}
