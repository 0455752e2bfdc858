@ Stand-in for the RP2040's boot ROM, written from the datasheet's description of its interface (2.8).
@
@ It starts the image in flash at once, without the second boot stage. The flash routines are breakpoints that the
@ emulator answers (harness/rom.mjs names the numbers); memory and bit functions are in romlib.c.
    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .section .text
    .org 0
    .word 0x20041f00            @ initial SP
    .word _reset + 1            @ reset
    .word _fault + 1            @ NMI
    .word _fault + 1            @ HardFault
    .byte 'M', 'u', 1, 3        @ 0x10 magic, version
    .hword func_table           @ 0x14
    .hword data_table           @ 0x16
    .hword table_lookup + 1     @ 0x18
    .hword 0
_reset:                         @ enter the image's vector table at 0x10000100
    ldr r0, =0x10000100
    ldr r1, =0xe000ed08
    str r0, [r1]
    ldmia r0!, {r1, r2}
    msr msp, r1
    bx r2
    .thumb_func
_fault:
    bkpt #0xfa
1:  b 1b
    .thumb_func
table_lookup:                   @ r0 = table, r1 = code
1:  ldrh r2, [r0]
    cmp r2, #0
    beq 2f
    cmp r2, r1
    beq 3f
    adds r0, #4
    b 1b
2:  movs r0, #0
    bx lr
3:  ldrh r0, [r0, #2]
    bx lr
    .macro trap name, n
    .thumb_func
\name:
    bkpt #\n
    bx lr
    .endm
    trap f_connect, 0x10
    trap f_exit_xip, 0x11
    trap f_erase, 0x12
    trap f_program, 0x13
    trap f_flush, 0x14
    trap f_enter_xip, 0x15
    trap f_usb_boot, 0x16
    .align 2
    .ltorg
    .macro fn c1, c2, f
    .byte \c1, \c2
    .hword \f + 1
    .endm
    .align 2
func_table:
    fn 'I','F', f_connect
    fn 'E','X', f_exit_xip
    fn 'R','E', f_erase
    fn 'R','P', f_program
    fn 'F','C', f_flush
    fn 'C','X', f_enter_xip
    fn 'U','B', f_usb_boot
    fn 'M','S', rom_memset
    fn 'S','4', rom_memset4
    fn 'M','C', rom_memcpy
    fn 'C','4', rom_memcpy44
    fn 'P','3', rom_popcount32
    fn 'R','3', rom_reverse32
    fn 'L','3', rom_clz32
    fn 'T','3', rom_ctz32
data_table:
    .hword 0, 0
