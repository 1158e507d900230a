/* The serial firmware for Arm's MPS2 board with a Cortex-M4 (AN386), as QEMU emulates it: an example to copy from.
 * Start-up code, the three functions that model_serial.h asks for, and main. */
#include <stdint.h>

#include "model_serial.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

/* CMSDK UART 0 (Cortex-M System Design Kit TRM, 4.3). */
#define UART_DATA REGISTER(0x40004000)
#define UART_STATE REGISTER(0x40004004)
#define UART_CONTROL REGISTER(0x40004008)
#define UART_BAUD_DIVIDER REGISTER(0x40004010)
enum { TRANSMIT_FULL = 1, RECEIVE_FULL = 2 };     /* of the state */
enum { TRANSMIT_ENABLE = 1, RECEIVE_ENABLE = 2 }; /* of the control */

/* The FPGA's counter goes up by one in every PRESCALE + 1 cycles (AN386, FPGA system control). */
#define COUNTER REGISTER(0x40028018)
#define PRESCALE REGISTER(0x4002801c)

enum { CLOCK_HZ = 25000000, BAUD = 115200 };

static void put(char character) {
    while (UART_STATE & TRANSMIT_FULL) {
    }
    UART_DATA = (uint8_t)character;
}

static int get(void) {
    while (!(UART_STATE & RECEIVE_FULL)) {
    }
    return (int)(UART_DATA & 0xff);
}

static uint32_t microseconds(void) {
    return COUNTER;
}

int main(void) {
    static const struct model_serial_board board = {
        .name = "qemu mps2-an386",
        .clock_hz = CLOCK_HZ,
        .put = put,
        .get = get,
        .microseconds = microseconds,
    };
    UART_BAUD_DIVIDER = CLOCK_HZ / BAUD;
    UART_CONTROL = TRANSMIT_ENABLE | RECEIVE_ENABLE;
    PRESCALE = CLOCK_HZ / 1000000 - 1;
    model_serial_run(&board);
    return 0;
}

/* Symbols of the linker script. */
extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];

_Noreturn static void halt(void) {
    for (;;) {
    }
}

_Noreturn void reset(void) {
    const uint32_t *load = data_load;
    for (volatile uint32_t *word = data_start; word < data_end; word++) {
        *word = *load++;
    }
    for (volatile uint32_t *word = bss_start; word < bss_end; word++) {
        *word = 0;
    }
    main();
    halt();
}

/* The initial stack pointer, then the handlers of reset and of the core's 14 other exceptions. */
__attribute__((used, section(".vectors"))) static const struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} vectors = {
    stack_top,
    {reset, halt, halt, halt, halt, halt, halt, halt, halt, halt, halt, halt, halt, halt, halt},
};
