/**
 * A quicker way through the instructions that make up nearly all of a program. rp2040js asks up to eighty questions
 * of each instruction; here a table answers all at once. What is rare, and whatever touches more than RAM and
 * flash, is left to rp2040js, so that both ways come to the same, cycles included (tests/core.test.mjs), save where
 * rp2040js is wrong (docs/rp2040js.md).
 */

const FLASH = 0x10000000;
const RAM = 0x20000000;
const RAM_SIZE = 264 * 1024;
const SP = 13;
const LR = 14;
const PC = 15;

// What the table tells of an opcode; 0 is left to rp2040js.
const LSLI = 1;
const LSRI = 2;
const ASRI = 3;
const ADDR = 4;
const SUBR = 5;
const ADDI3 = 6;
const SUBI3 = 7;
const MOVI = 8;
const CMPI = 9;
const ADDI8 = 10;
const SUBI8 = 11;
const AND = 12;
const EOR = 13;
const TST = 14;
const CMPR = 15;
const ORR = 16;
const MUL = 17;
const BIC = 18;
const MVN = 19;
const ADDH = 20;
const MOVH = 21;
const BX = 22;
const BLX = 23;
const LDRL = 24;
const STRR = 25;
const STRHR = 26;
const STRBR = 27;
const LDRR = 28;
const LDRHR = 29;
const LDRBR = 30;
const STRI = 31;
const LDRI = 32;
const STRBI = 33;
const LDRBI = 34;
const STRHI = 35;
const LDRHI = 36;
const STRSP = 37;
const LDRSP = 38;
const ADDSP = 39;
const SUBSP = 40;
const PUSH = 41;
const POP = 42;
const BCOND = 43;
const B = 44;
const BL = 45;
const UXTB = 46;
const UXTH = 47;
const SXTB = 48;
const SXTH = 49;
const NEG = 50;
const CMPH = 51;
const LSLR = 52;
const LSRR = 53;
const ADDRSP = 54;
const LDM = 55;
const STM = 56;
const ADC = 57;
const SBC = 58;

/** Kind of instruction by its upper bits: [bits to shift away, what is left, kind]. @type {[number, number, number][]} */
const KINDS = [
  [11, 0b00000, LSLI], [11, 0b00001, LSRI], [11, 0b00010, ASRI], [9, 0b0001100, ADDR], [9, 0b0001101, SUBR],
  [9, 0b0001110, ADDI3], [9, 0b0001111, SUBI3], [11, 0b00100, MOVI], [11, 0b00101, CMPI], [11, 0b00110, ADDI8],
  [11, 0b00111, SUBI8], [6, 0b0100000000, AND], [6, 0b0100000001, EOR], [6, 0b0100000010, LSLR],
  [6, 0b0100000011, LSRR], [6, 0b0100000101, ADC], [6, 0b0100000110, SBC], [6, 0b0100001000, TST], [6, 0b0100001001, NEG], [6, 0b0100001010, CMPR],
  [6, 0b0100001100, ORR], [6, 0b0100001101, MUL], [6, 0b0100001110, BIC], [6, 0b0100001111, MVN],
  [8, 0b01000100, ADDH], [8, 0b01000101, CMPH], [8, 0b01000110, MOVH], [7, 0b010001110, BX], [7, 0b010001111, BLX],
  [11, 0b01001, LDRL], [9, 0b0101000, STRR], [9, 0b0101001, STRHR], [9, 0b0101010, STRBR], [9, 0b0101100, LDRR],
  [9, 0b0101101, LDRHR], [9, 0b0101110, LDRBR], [11, 0b01100, STRI], [11, 0b01101, LDRI], [11, 0b01110, STRBI],
  [11, 0b01111, LDRBI], [11, 0b10000, STRHI], [11, 0b10001, LDRHI], [11, 0b10010, STRSP], [11, 0b10011, LDRSP],
  [11, 0b10101, ADDRSP], [7, 0b101100000, ADDSP], [7, 0b101100001, SUBSP], [6, 0b1011001000, SXTH],
  [6, 0b1011001001, SXTB], [6, 0b1011001010, UXTH], [6, 0b1011001011, UXTB], [9, 0b1011010, PUSH],
  [9, 0b1011110, POP], [11, 0b11000, STM], [11, 0b11001, LDM], [12, 0b1101, BCOND], [11, 0b11100, B],
  [11, 0b11110, BL],
];

const TABLE = (() => {
  const table = new Uint8Array(0x10000);
  for (const [shift, bits, kind] of KINDS) {
    table.fill(kind, bits << shift, (bits + 1) << shift);
  }
  table.fill(0, 0xde00, 0xe000); // UDF and SVC have the form of a branch
  for (let opcode = 0x4700; opcode < 0x4800; opcode++) {
    if (opcode & 7) {
      table[opcode] = 0;
    }
  }
  return table;
})();

/** Bits that are set in a byte. */
const COUNT = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length);

/**
 * A function that executes one instruction of the chip's core and returns its cycles.
 * @param {any} mcu
 * @returns {() => number}
 */
export function quickCore(mcu) {
  const { core } = mcu;
  const slow = core.executeInstruction.bind(core);
  const r = new Int32Array(core.registers.buffer, core.registers.byteOffset, 16);
  const flash8 = mcu.flash;
  const flash16 = mcu.flash16;
  const flash32 = new Int32Array(flash8.buffer);
  const flashEnd = FLASH + flash8.length;
  const ram8 = mcu.sram;
  const ram16 = new Uint16Array(ram8.buffer);
  const ram32 = new Int32Array(ram8.buffer);

  /** @param {number} result */
  const flags = (result) => {
    core.N = result < 0;
    core.Z = result === 0;
  };
  /** @param {number} a @param {number} b */
  const add = (a, b) => {
    const result = (a + b) | 0;
    core.N = result < 0;
    core.Z = result === 0;
    core.C = result >>> 0 < a >>> 0;
    core.V = (~(a ^ b) & (a ^ result)) < 0;
    return result;
  };
  /** @param {number} a @param {number} b */
  const subtract = (a, b) => {
    const result = (a - b) | 0;
    core.N = result < 0;
    core.Z = result === 0;
    core.C = a >>> 0 >= b >>> 0;
    core.V = ((a ^ b) & (a ^ result)) < 0;
    return result;
  };
  /** With carry: rp2040js gets V wrong where operand and carry make 2^31. @param {number} a @param {number} b */
  const addWithCarry = (a, b) => {
    const sum = (a >>> 0) + (b >>> 0) + (core.C ? 1 : 0);
    const result = sum | 0;
    core.N = result < 0;
    core.Z = result === 0;
    core.C = sum > 0xffffffff;
    core.V = (~(a ^ b) & (a ^ result)) < 0;
    return result;
  };
  /** Load into a register. @param {number} rt @param {number} address */
  const load32 = (rt, address) => {
    const at = (address - RAM) >>> 0;
    if ((address & 3) === 0) {
      if (at < RAM_SIZE) {
        r[rt] = ram32[at >>> 2];
        return 2;
      }
      if (address >= FLASH && address < flashEnd) {
        r[rt] = flash32[(address - FLASH) >>> 2];
        return 2;
      }
    }
    const cycles = 1 + core.cyclesIO(address);
    r[rt] = mcu.readUint32(address);
    return cycles;
  };
  /** @param {number} rt @param {number} address */
  const load16 = (rt, address) => {
    const at = (address - RAM) >>> 0;
    if (at < RAM_SIZE && (address & 1) === 0) {
      r[rt] = ram16[at >>> 1];
      return 2;
    }
    const cycles = 1 + core.cyclesIO(address);
    r[rt] = mcu.readUint16(address >>> 0);
    return cycles;
  };
  /** @param {number} rt @param {number} address */
  const load8 = (rt, address) => {
    const at = (address - RAM) >>> 0;
    if (at < RAM_SIZE) {
      r[rt] = ram8[at];
      return 2;
    }
    if (address >= FLASH && address < flashEnd) {
      r[rt] = flash8[address - FLASH];
      return 2;
    }
    const cycles = 1 + core.cyclesIO(address);
    r[rt] = mcu.readUint8(address >>> 0);
    return cycles;
  };
  /** @param {number} rt @param {number} address */
  const store32 = (rt, address) => {
    const at = (address - RAM) >>> 0;
    if (at < RAM_SIZE && (address & 3) === 0) {
      ram32[at >>> 2] = r[rt];
      return 2;
    }
    const cycles = 1 + core.cyclesIO(address, true);
    mcu.writeUint32(address >>> 0, core.registers[rt]);
    return cycles;
  };
  /** @param {number} rt @param {number} address */
  const store16 = (rt, address) => {
    const at = (address - RAM) >>> 0;
    if (at < RAM_SIZE && (address & 1) === 0) {
      ram16[at >>> 1] = r[rt];
      return 2;
    }
    const cycles = 1 + core.cyclesIO(address, true);
    mcu.writeUint16(address >>> 0, core.registers[rt]);
    return cycles;
  };
  /** @param {number} rt @param {number} address */
  const store8 = (rt, address) => {
    const at = (address - RAM) >>> 0;
    if (at < RAM_SIZE) {
      ram8[at] = r[rt];
      return 2;
    }
    const cycles = 1 + core.cyclesIO(address, true);
    mcu.writeUint8(address >>> 0, core.registers[rt]);
    return cycles;
  };
  /** Whether so many bytes from an address on are words of the RAM. @param {number} address @param {number} size */
  const inRam = (address, size) => (address & 3) === 0 && address >= RAM && address + size <= RAM + RAM_SIZE;
  /** @param {number} condition */
  const holds = (condition) => {
    switch (condition) {
      case 0:
        return core.Z;
      case 1:
        return !core.Z;
      case 2:
        return core.C;
      case 3:
        return !core.C;
      case 4:
        return core.N;
      case 5:
        return !core.N;
      case 6:
        return core.V;
      case 7:
        return !core.V;
      case 8:
        return core.C && !core.Z;
      case 9:
        return !(core.C && !core.Z);
      case 10:
        return core.N === core.V;
      case 11:
        return core.N !== core.V;
      case 12:
        return core.N === core.V && !core.Z;
      default:
        return !(core.N === core.V && !core.Z);
    }
  };

  return () => {
    const pc = r[PC];
    const inFlash = pc >= FLASH && pc < flashEnd;
    if (core.interruptsUpdated || pc & 1 || !(inFlash || (pc - RAM) >>> 0 < RAM_SIZE)) {
      return slow();
    }
    const opcode = inFlash ? flash16[(pc - FLASH) >>> 1] : ram16[(pc - RAM) >>> 1];
    const low = opcode & 7;
    const mid = (opcode >> 3) & 7;
    const high = (opcode >> 8) & 7;
    const imm5 = (opcode >> 6) & 0x1f;
    const imm8 = opcode & 0xff;
    let cycles = 1;
    switch (TABLE[opcode]) {
      case LSLI: {
        const input = r[mid];
        const result = input << imm5;
        if (imm5) {
          core.C = (input & (1 << (32 - imm5))) !== 0;
        }
        r[low] = result;
        flags(result);
        break;
      }
      case LSRI: {
        const input = r[mid];
        const result = imm5 ? input >>> imm5 : 0;
        core.C = ((input >>> (imm5 ? imm5 - 1 : 31)) & 1) !== 0;
        r[low] = result;
        flags(result | 0);
        break;
      }
      case ASRI: {
        const input = r[mid];
        const shift = imm5 || 32;
        const result = shift < 32 ? input >> shift : input >> 31;
        core.C = (input & (1 << (shift - 1))) !== 0;
        r[low] = result;
        flags(result);
        break;
      }
      case LSLR: {
        const input = r[low];
        const shift = r[mid] & 0xff;
        const result = shift >= 32 ? 0 : input << shift;
        if (shift) {
          core.C = (input & (1 << (32 - shift))) !== 0;
        }
        r[low] = result;
        flags(result);
        break;
      }
      case LSRR: {
        const input = r[low];
        const shift = r[mid] & 0xff;
        const result = shift < 32 ? input >>> shift : 0;
        core.C = shift <= 32 ? ((input >>> (shift - 1)) & 1) !== 0 : false;
        r[low] = result;
        flags(result | 0);
        break;
      }
      case ADDR:
        r[low] = add(r[mid], r[imm5 & 7]);
        break;
      case SUBR:
        r[low] = subtract(r[mid], r[imm5 & 7]);
        break;
      case ADDI3:
        r[low] = add(r[mid], imm5 & 7);
        break;
      case SUBI3:
        r[low] = subtract(r[mid], imm5 & 7);
        break;
      case MOVI:
        r[high] = imm8;
        flags(imm8);
        break;
      case CMPI:
        subtract(r[high], imm8);
        break;
      case ADDI8:
        r[high] = add(r[high], imm8);
        break;
      case SUBI8:
        r[high] = subtract(r[high], imm8);
        break;
      case AND:
        flags((r[low] &= r[mid]));
        break;
      case EOR:
        flags((r[low] ^= r[mid]));
        break;
      case ADC:
        r[low] = addWithCarry(r[low], r[mid]);
        break;
      case SBC:
        r[low] = addWithCarry(r[low], ~r[mid]);
        break;
      case TST:
        flags(r[low] & r[mid]);
        break;
      case NEG:
        r[low] = subtract(0, r[mid]);
        break;
      case CMPR:
        subtract(r[low], r[mid]);
        break;
      case ORR:
        flags((r[low] |= r[mid]));
        break;
      case MUL:
        flags((r[low] = Math.imul(r[mid], r[low])));
        break;
      case BIC:
        flags((r[low] &= ~r[mid]));
        break;
      case MVN:
        flags((r[low] = ~r[mid]));
        break;
      case ADDH:
      case MOVH: {
        const from = (opcode >> 3) & 15;
        const to = ((opcode >> 4) & 8) | low;
        if (from >= SP || to >= SP) {
          return slow();
        }
        r[to] = TABLE[opcode] === MOVH ? r[from] : r[to] + r[from];
        break;
      }
      case CMPH: {
        const from = (opcode >> 3) & 15;
        const to = ((opcode >> 4) & 8) | low;
        if (from >= SP || to >= SP) {
          return slow();
        }
        subtract(r[to], r[from]);
        break;
      }
      case BX: {
        const from = (opcode >> 3) & 15;
        const target = r[from];
        if (from === PC || target >>> 28 === 15) {
          return slow(); // the latter is perhaps the end of an interrupt
        }
        r[PC] = target & ~1;
        core.cycles += 2;
        return 2;
      }
      case BLX: {
        const target = r[(opcode >> 3) & 15];
        r[LR] = (pc + 2) | 1;
        r[PC] = target & ~1;
        core.cycles += 2;
        return 2;
      }
      case LDRL:
        cycles = load32(high, ((pc + 4) & ~3) + (imm8 << 2));
        break;
      case STRR:
        cycles = store32(low, (r[mid] + r[imm5 & 7]) | 0);
        break;
      case STRHR:
        cycles = store16(low, (r[mid] + r[imm5 & 7]) | 0);
        break;
      case STRBR:
        cycles = store8(low, (r[mid] + r[imm5 & 7]) | 0);
        break;
      case LDRR:
        cycles = load32(low, (r[mid] + r[imm5 & 7]) | 0);
        break;
      case LDRHR:
        cycles = load16(low, (r[mid] + r[imm5 & 7]) | 0);
        break;
      case LDRBR:
        cycles = load8(low, (r[mid] + r[imm5 & 7]) | 0);
        break;
      case STRI:
        cycles = store32(low, (r[mid] + (imm5 << 2)) | 0);
        break;
      case LDRI:
        cycles = load32(low, (r[mid] + (imm5 << 2)) | 0);
        break;
      case STRBI:
        cycles = store8(low, (r[mid] + imm5) | 0);
        break;
      case LDRBI:
        cycles = load8(low, (r[mid] + imm5) | 0);
        break;
      case STRHI:
        cycles = store16(low, (r[mid] + (imm5 << 1)) | 0);
        break;
      case LDRHI:
        cycles = load16(low, (r[mid] + (imm5 << 1)) | 0);
        break;
      case STRSP:
        cycles = store32(high, (r[SP] + (imm8 << 2)) | 0);
        break;
      case LDRSP:
        cycles = load32(high, (r[SP] + (imm8 << 2)) | 0);
        break;
      case ADDRSP:
        r[high] = r[SP] + (imm8 << 2);
        break;
      case ADDSP:
        r[SP] += (opcode & 0x7f) << 2;
        break;
      case SUBSP:
        r[SP] -= (opcode & 0x7f) << 2;
        break;
      case SXTB:
        r[low] = (r[mid] << 24) >> 24;
        break;
      case SXTH:
        r[low] = (r[mid] << 16) >> 16;
        break;
      case UXTB:
        r[low] = r[mid] & 0xff;
        break;
      case UXTH:
        r[low] = r[mid] & 0xffff;
        break;
      case PUSH: {
        const size = 4 * (COUNT[imm8] + ((opcode >> 8) & 1));
        const start = r[SP] - size;
        if (!inRam(start, size)) {
          return slow();
        }
        let at = (start - RAM) >>> 2;
        for (let i = 0; i < 8; i++) {
          if (imm8 & (1 << i)) {
            ram32[at++] = r[i];
          }
        }
        if (opcode & 0x100) {
          ram32[at] = r[LR];
        }
        r[SP] = start;
        cycles += COUNT[imm8];
        break;
      }
      case POP: {
        const size = 4 * (COUNT[imm8] + ((opcode >> 8) & 1));
        if (!inRam(r[SP], size)) {
          return slow();
        }
        const start = (r[SP] - RAM) >>> 2;
        const target = opcode & 0x100 ? ram32[start + COUNT[imm8]] : 0;
        if (target >>> 28 === 15) {
          return slow(); // perhaps the end of an interrupt
        }
        let at = start;
        for (let i = 0; i < 8; i++) {
          if (imm8 & (1 << i)) {
            r[i] = ram32[at++];
          }
        }
        r[SP] += size;
        cycles += COUNT[imm8];
        if (opcode & 0x100) {
          r[PC] = target & ~1;
          core.cycles += cycles + 2;
          return cycles + 2;
        }
        break;
      }
      case LDM:
      case STM: {
        const start = r[high];
        const size = 4 * COUNT[imm8];
        if (!inRam(start, size)) {
          return slow();
        }
        let at = (start - RAM) >>> 2;
        const loads = TABLE[opcode] === LDM;
        for (let i = 0; i < 8; i++) {
          if (imm8 & (1 << i)) {
            if (loads) {
              r[i] = ram32[at++];
            } else {
              ram32[at++] = r[i];
            }
          }
        }
        if (!(imm8 & (1 << high))) {
          r[high] = start + size;
        }
        cycles += COUNT[imm8];
        break;
      }
      case BCOND:
        if (holds((opcode >> 8) & 15)) {
          r[PC] = pc + 4 + ((imm8 << 24) >> 23);
          core.cycles += 2;
          return 2;
        }
        break;
      case B:
        r[PC] = pc + 4 + ((opcode << 21) >> 20);
        core.cycles += 2;
        return 2;
      case BL: {
        const second = inFlash ? flash16[(pc + 2 - FLASH) >>> 1] : ram16[(pc + 2 - RAM) >>> 1];
        if ((second & 0xd000) !== 0xd000) {
          return slow(); // MRS, MSR, barriers
        }
        const sign = (opcode << 21) >> 31;
        const j1 = ((second >> 13) ^ sign ^ 1) & 1;
        const j2 = ((second >> 11) ^ sign ^ 1) & 1;
        const offset =
          (sign << 24) | (j1 << 23) | (j2 << 22) | ((opcode & 0x3ff) << 12) | ((second & 0x7ff) << 1);
        r[LR] = (pc + 4) | 1;
        r[PC] = pc + 4 + offset;
        core.cycles += 3;
        return 3;
      }
      default:
        return slow();
    }
    r[PC] = pc + 2;
    core.cycles += cycles;
    return cycles;
  };
}
