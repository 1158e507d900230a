/* Answers a host over a serial line: it loads inputs, has inferences timed by the board, and reads outputs.
 *
 * The commands and replies are MLPerf-Tiny-style, unofficial; README.md lists them. Input, output and arena are
 * static; nothing is allocated. A command of more than 79 characters, or with anything but printable ASCII in it,
 * is ignored up to its end and answered with an error.
 */
#ifndef MODEL_SERIAL_H
#define MODEL_SERIAL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the board gives. */
struct model_serial_board {
    /* Of the board and its firmware. An emulator's contains the emulator's name, "qemu" or "renode": what its clock
     * says is never reported as measured. */
    const char *name;

    /* Frequency of the core in Hz, or 0 where it is not known or not fixed. */
    uint32_t clock_hz;

    /* Send a character; wait while there is no room for it. */
    void (*put)(char character);

    /* Wait for a character and return it, 0 to 255. It may feed a watchdog or yield to other tasks; it is not called
     * while inferences run, 10 seconds or more: a watchdog must allow that. */
    int (*get)(void);

    /* Microseconds since any moment; from 2^32 - 1 it goes on at 0. Host and board must agree on how long a second
     * is: a counter of another frequency is found out and refused. */
    uint32_t (*microseconds)(void);

    /* Tell an energy meter: set a pin high (1) before inferences that are timed, and low (0) after them. May be
     * NULL. Connect the pin to the meter's digital input 0. */
    void (*mark)(int inferring);
};

/* Answer commands for ever. */
void model_serial_run(const struct model_serial_board *board);

#ifdef __cplusplus
}
#endif

#endif
