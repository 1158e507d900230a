// Answers edgegrow over the board's USB or serial port: edgegrow measure FOLDER --via serial:PORT
#include <model_serial.h>

#ifdef ARDUINO_BOARD
#define BOARD_NAME "Arduino " ARDUINO_BOARD
#else
#define BOARD_NAME "Arduino"
#endif
#ifdef F_CPU
#define BOARD_CLOCK_HZ F_CPU
#else
#define BOARD_CLOCK_HZ 0
#endif

static void put(char character) { Serial.write(character); }

static int get() {
  while (!Serial.available()) {
    yield();
  }
  return Serial.read();
}

static uint32_t microseconds() { return micros(); }

void setup() {
  Serial.begin(115200);
  while (!Serial) {
  }
}

void loop() {
  static const struct model_serial_board board = {BOARD_NAME, BOARD_CLOCK_HZ, put, get, microseconds, NULL};
  model_serial_run(&board);
}
