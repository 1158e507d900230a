/* Exits with 0 when the self-test passes. */
#include "model_selftest.h"

int main(void) {
    return model_selftest();
}
