/* The device's side of the serial protocol: MLPerf-Tiny-style, unofficial. */
#include "model_serial.h"

#include "model.h"

#if defined(__GNUC__) && !defined(__clang__)
#define COMPILER "gcc " __VERSION__
#elif defined(__VERSION__)
#define COMPILER __VERSION__
#else
#define COMPILER "unknown"
#endif
#if defined(__OPTIMIZE_SIZE__)
#define OPTIMIZED ", optimized for size"
#elif defined(__OPTIMIZE__)
#define OPTIMIZED ", optimized"
#else
#define OPTIMIZED ", not optimized"
#endif

enum { COMMAND_CHARACTERS = 79, PRINTED_BYTES = 32, WARMUPS = 10 };

static _Alignas(16) int8_t arena[MODEL_ARENA_BYTES];
static _Alignas(16) int8_t input[MODEL_INPUT_BYTES];
static int8_t output[MODEL_OUTPUT_BYTES];

struct session {
    const struct model_serial_board *board;
    uint32_t expected; /* bytes that the host has announced, or 0 */
    uint32_t loaded;   /* of them, those that have come */
    int has_input, has_output;
};

static void say(const struct session *s, const char *text) {
    while (*text) {
        s->board->put(*text++);
    }
}

static void say_number(const struct session *s, uint32_t value) {
    char digits[11] = {0};
    char *first = digits + 10;
    do {
        *--first = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    say(s, first);
}

/* A reply whose value is a number, or a text in brackets. */
static void reply_number(const struct session *s, const char *reply, uint32_t value) {
    say(s, reply);
    say_number(s, value);
    say(s, "\r\n");
}

static void reply(const struct session *s, const char *reply, const char *text) {
    say(s, reply);
    say(s, "[");
    say(s, text);
    say(s, "]\r\n");
}

static void refuse(const struct session *s, const char *why) {
    reply(s, "e-", why);
}

/* What follows a word at the start of a text, or NULL where another one stands there. */
static const char *after(const char *text, const char *word) {
    while (*word) {
        if (*text++ != *word++) {
            return 0;
        }
    }
    if (*text && *text != ' ') {
        return 0;
    }
    while (*text == ' ') {
        text++;
    }
    return text;
}

/* What follows a decimal number, or NULL where there is none that 32 bits hold. */
static const char *number(const char *text, uint32_t *value) {
    uint64_t sum = 0;
    const char *digit = text;
    while (*digit >= '0' && *digit <= '9') {
        sum = 10 * sum + (uint64_t)(*digit++ - '0');
        if (sum > UINT32_MAX) {
            return 0;
        }
    }
    *value = (uint32_t)sum;
    return digit == text ? 0 : after(digit, "");
}

static int nibble(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    digit = (char)(digit | 0x20); /* to lower case */
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static void announce(struct session *s, const char *arguments) {
    uint32_t bytes;
    const char *rest = number(arguments, &bytes);
    if (!rest || *rest || bytes != MODEL_INPUT_BYTES) {
        refuse(s, "db load: another size than the input's");
        return;
    }
    s->expected = bytes;
    s->loaded = 0;
    s->has_input = s->has_output = 0;
    say(s, "m-[Expecting ");
    say_number(s, bytes);
    say(s, " bytes]\r\n");
}

static void load(struct session *s, const char *digits) {
    uint32_t bytes = 0;
    for (const char *d = digits; *d; d += 2, bytes++) {
        if (nibble(d[0]) < 0 || nibble(d[1]) < 0) { /* of an odd number of digits, d[1] is the end */
            refuse(s, "db: not pairs of hexadecimal digits");
            return;
        }
    }
    if (bytes == 0 || bytes > s->expected - s->loaded) {
        refuse(s, "db: no bytes, or more than announced");
        return;
    }
    for (; *digits; digits += 2) {
        const int value = nibble(digits[0]) << 4 | nibble(digits[1]);
        input[s->loaded++] = (int8_t)(value < 128 ? value : value - 256);
    }
    if (s->loaded == s->expected) {
        s->expected = s->loaded = 0;
        s->has_input = 1;
        say(s, "m-load-done\r\n");
    }
}

static void print_input(const struct session *s) {
    for (uint32_t i = 0; i < MODEL_INPUT_BYTES; i++) {
        if (i % PRINTED_BYTES == 0) {
            say(s, i ? "\r\nm-buffer-" : "m-buffer-");
        }
        s->board->put("0123456789abcdef"[(uint8_t)input[i] >> 4]);
        s->board->put("0123456789abcdef"[input[i] & 15]);
    }
    say(s, "\r\n");
}

static void print_output(const struct session *s) {
    if (!s->has_output) {
        refuse(s, "results: there are none yet, infer first");
        return;
    }
    say(s, "m-results-[");
    for (uint32_t i = 0; i < MODEL_OUTPUT_BYTES; i++) {
        say(s, i ? "," : "");
        say(s, output[i] < 0 ? "-" : "");
        say_number(s, (uint32_t)(output[i] < 0 ? -output[i] : output[i]));
    }
    say(s, "]\r\n");
}

static int invoke(uint32_t times) {
    int failed = 0;
    while (times--) {
        failed |= model_invoke(input, output, arena);
    }
    return failed;
}

static void mark(const struct session *s, int inferring) {
    if (s->board->mark) {
        s->board->mark(inferring);
    }
}

static void infer(struct session *s, const char *arguments) {
    uint32_t iterations, warmups = WARMUPS;
    const char *rest = number(arguments, &iterations);
    if (rest && *rest) {
        rest = number(rest, &warmups);
    }
    if (!rest || *rest || iterations == 0) {
        refuse(s, "infer: not a number of inferences, 1 or more, and one of warm-ups");
        return;
    }
    if (!s->has_input) {
        refuse(s, "infer: there is no input, db load first");
        return;
    }
    s->has_output = 0; /* what fails midway leaves none */
    reply_number(s, "m-warmup-start-", warmups);
    int failed = invoke(warmups);
    say(s, "m-warmup-done\r\n");
    reply_number(s, "m-infer-start-", iterations);
    /* Both are taken before the first is said: sending characters takes time. */
    mark(s, 1);
    const uint32_t start = s->board->microseconds();
    failed |= invoke(iterations);
    const uint32_t end = s->board->microseconds();
    mark(s, 0);
    if (failed) {
        refuse(s, "infer: model_invoke failed");
        return;
    }
    s->has_output = 1;
    reply_number(s, "m-lap-us-", start);
    reply_number(s, "m-lap-us-", end);
    say(s, "m-infer-done\r\n");
    print_output(s);
}

static void profile(const struct session *s) {
    reply(s, "m-profile-", "edgegrow serial 1");
    reply(s, "m-model-", MODEL_ID);
    reply(s, "m-compiler-", COMPILER OPTIMIZED);
    reply_number(s, "m-clock-hz-", s->board->clock_hz);
}

static void obey(struct session *s, const char *command) {
    const char *rest;
    if (after(command, "name")) {
        reply(s, "m-name-dut-", s->board->name);
    } else if (after(command, "timestamp")) {
        reply_number(s, "m-lap-us-", s->board->microseconds());
    } else if (after(command, "profile")) {
        profile(s);
    } else if (after(command, "help")) {
        reply(s, "m-help-", "name, timestamp, profile, help, results, infer N [W=10], "
                            "db load N, db HH.., db print; % ends each");
    } else if (after(command, "db print")) {
        print_input(s);
    } else if ((rest = after(command, "db load"))) {
        announce(s, rest);
    } else if ((rest = after(command, "db"))) {
        load(s, rest);
    } else if ((rest = after(command, "infer"))) {
        infer(s, rest);
    } else if (after(command, "results")) {
        print_output(s);
    } else if (*command) {
        refuse(s, "unknown command");
    }
}

void model_serial_run(const struct model_serial_board *board) {
    struct session session = {.board = board};
    say(&session, "m-init-done\r\nm-ready\r\n");
    for (;;) {
        char command[COMMAND_CHARACTERS + 1] = {0};
        int length = 0, damaged = 0, character;
        while ((character = board->get()) != '%') {
            if (character == '\r' || character == '\n') {
                continue; /* of a person at a terminal */
            }
            damaged |= character < ' ' || character > '~' || length == COMMAND_CHARACTERS;
            if (!damaged) {
                command[length++] = (char)character;
            }
        }
        if (damaged) {
            refuse(&session, "command too long, or damaged");
        } else {
            obey(&session, command);
        }
        say(&session, "m-ready\r\n");
    }
}
