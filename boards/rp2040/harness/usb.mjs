import { USBCDC } from 'rp2040js';

const PACKET = 64;
const FRAME_NS = 1e6;
const SOF_RD = 0x48;
const SIE_STATUS = 0x50;
const SIE_SUSPENDED = 1 << 4;
const INTE = 0x90;
const INT_SOF = 1 << 17;

/**
 * @typedef {object} UsbCalls
 * @property {() => void} connected the host has configured the device
 * @property {(data: Uint8Array) => void} data the board has sent something
 */

/**
 * The host at the other end of the USB cable, with one serial port (CDC). It takes packets only while it reads,
 * offers a packet only when there is data (rp2040js' host answers an idle OUT pipe with endless empty packets), and
 * tells the board whether a program has the port open (DTR).
 */
export class UsbHost {
  #usb;
  #calls;
  /** @type {any} */
  #cdc;
  /** @type {number | null} bytes that the board is ready to take */
  #wanted = null;
  /** @type {number[]} */
  #queue = [];
  #held = false;
  #reading = true;
  #open = true;
  #plugged = true;
  connected = false;

  /** @param {any} mcu @param {UsbCalls} calls */
  constructor(mcu, calls) {
    this.#usb = mcu.usbCtrl;
    this.#calls = calls;
    const usb = this.#usb;
    const ready = usb.indicateBufferReady.bind(usb);
    usb.indicateBufferReady = (/** @type {number} */ endpoint, /** @type {boolean} */ out) => {
      if (!out && this.connected && endpoint === this.#cdc.inEndpoint && !(this.#reading && this.#plugged)) {
        this.#held = true; // the packet stays in the board's buffer until the host asks for it
      } else {
        ready(endpoint, out);
      }
    };
    const frame = mcu.clock.createAlarm(() => this.#startOfFrame(frame));
    const [read, write] = [usb.readUint32.bind(usb), usb.writeUint32.bind(usb)];
    usb.writeUint32 = (/** @type {number} */ offset, /** @type {number} */ value) => {
      if (offset === SIE_STATUS) {
        // rp2040js does not let the firmware clear SUSPENDED, so that its interrupt would come for ever.
        usb.sieStatus &= ~(usb.rawWriteValue & SIE_SUSPENDED);
      }
      write(offset, value);
      if (offset === INTE && value & INT_SOF) {
        frame.schedule(FRAME_NS);
      }
    };
    usb.readUint32 = (/** @type {number} */ offset) => {
      if (offset === SOF_RD) {
        usb.intRaw &= ~INT_SOF;
        usb.checkInterrupts();
      }
      return read(offset);
    };
    this.#release = () => ready(this.#cdc.inEndpoint, false);
    this.#enumerate();
  }

  #release;

  /** Bytes that wait for the board. */
  get waiting() {
    return this.#queue.length;
  }

  /** Whether a packet waits in the board for a host that does not read. */
  get held() {
    return this.#held;
  }

  /** Send to the board. @param {Uint8Array} data */
  send(data) {
    for (const byte of data) {
      this.#queue.push(byte);
    }
    this.#offer();
  }

  /** Whether the host takes what the board sends. @param {boolean} reading */
  read(reading) {
    this.#reading = reading;
    if (reading && this.#plugged && this.#held) {
      this.#held = false;
      this.#release();
    }
  }

  /** Whether a program of the host has the port open. @param {boolean} open */
  open(open) {
    if (open === this.#open) {
      return;
    }
    this.#open = open;
    if (this.connected && this.#plugged) {
      this.#cdc.tellLineState();
    }
  }

  /** Pull the cable, or plug it in. @param {boolean} plugged */
  plug(plugged) {
    if (plugged === this.#plugged) {
      return;
    }
    this.#plugged = plugged;
    this.connected = false;
    this.#queue.length = 0;
    this.#wanted = null;
    this.#held = false;
    if (plugged) {
      this.#enumerate();
      this.#usb.resetDevice();
    } else {
      this.#usb.sieStatus |= SIE_SUSPENDED;
      this.#usb.sieStatusUpdated();
    }
  }

  /** A host starts a frame every millisecond; rp2040js' does not. The firmware asks for it when it needs it. @param {any} frame */
  #startOfFrame(frame) {
    const usb = this.#usb;
    if (!(usb.intEnable & INT_SOF)) {
      return;
    }
    if (this.connected) {
      usb.sofFrameNumber = (usb.sofFrameNumber + 1) & 0x7ff;
      usb.intRaw |= INT_SOF;
      usb.checkInterrupts();
    }
    frame.schedule(FRAME_NS);
  }

  #enumerate() {
    const usb = this.#usb;
    /** @type {any} */
    const cdc = new USBCDC(usb);
    this.#cdc = cdc;
    const setLineState = cdc.cdcSetControlLineState.bind(cdc);
    cdc.tellLineState = () => setLineState(this.#open ? 3 : 0);
    cdc.cdcSetControlLineState = cdc.tellLineState;
    cdc.onDeviceConnected = () => {
      this.connected = true;
      this.#calls.connected();
      this.#offer();
    };
    cdc.onSerialData = (/** @type {Uint8Array} */ data) => {
      if (this.#plugged && data.length > 0) {
        this.#calls.data(data);
      }
    };
    const other = usb.onEndpointRead;
    usb.onEndpointRead = (/** @type {number} */ endpoint, /** @type {number} */ size) => {
      if (endpoint === cdc.outEndpoint) {
        this.#wanted = size;
        this.#offer();
      } else {
        other(endpoint, size);
      }
    };
    const enabled = usb.onUSBEnabled;
    usb.onUSBEnabled = () => {
      if (this.#plugged) {
        enabled();
      }
    };
  }

  #offer() {
    if (this.#wanted === null || this.#queue.length === 0 || !this.connected || !this.#plugged) {
      return;
    }
    const data = Uint8Array.from(this.#queue.splice(0, Math.min(this.#wanted, PACKET)));
    this.#wanted = null;
    this.#usb.endpointReadDone(this.#cdc.outEndpoint, data);
  }
}

