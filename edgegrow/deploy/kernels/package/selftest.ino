// Runs the network's self-test and prints how long an inference takes.
#include <model.h>
#include <model_selftest.h>

void setup() {
  Serial.begin(115200);
  while (!Serial) {
  }
}

void loop() {
  const unsigned long start = micros();
  const int failed = model_selftest();
  const unsigned long elapsed = micros() - start;
  Serial.print(failed ? "FAILED" : "passed");
  Serial.print(", us: ");
  Serial.println(elapsed);
  delay(1000);
}
