/* Checks that the network computes on this device what it was trained to. */
#ifndef MODEL_SELFTEST_H
#define MODEL_SELFTEST_H

#ifdef __cplusplus
extern "C" {
#endif

/* Returns 0 when the output for one known input is the expected one, bit for bit. */
int model_selftest(void);

#ifdef __cplusplus
}
#endif

#endif
