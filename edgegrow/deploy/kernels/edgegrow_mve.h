/* The inner loops in Arm's vector extension (MVE: Cortex-M55, M85), on the same packed weights.
 *
 * Elsewhere these functions are not called, and empty. */
#ifndef EDGEGROW_MVE_H
#define EDGEGROW_MVE_H

#include "edgegrow_scale.h"

/* Sums of a pair of channels over one column; `b` is mixed with `a` where the weights are packed. */
struct pair {
    uint32_t a, b;
};

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define EDGEGROW_MVE 1
#include <arm_mve.h>

/* Widen whole eights of inputs; returns how many there were. */
EDGEGROW_KERNEL int mve_widen(int16_t *to, const int8_t *from, int count) {
    int i = 0;
    for (; i + 8 <= count; i += 8) {
        vstrhq_s16(to + i, vldrbq_s16(from + i));
    }
    return i;
}

/* Add the products of eight inputs with the weights of four channels, in eight words: those of a and b are
 * every other word, in which the even bytes are a's. */
EDGEGROW_KERNEL void mve_step(int packed, const uint32_t *weights, int16x8_t inputs, int32_t sums[4]) {
    const uint32x4x2_t words = vld2q_u32(weights);
    const int8x16_t ab = vreinterpretq_s8_u32(words.val[0]), cd = vreinterpretq_s8_u32(words.val[1]);
    sums[0] = vmladavaq_s16(sums[0], vmovlbq_s8(ab), inputs);
    sums[1] = vmladavaq_s16(sums[1], packed ? vreinterpretq_s16_s8(ab) : vmovltq_s8(ab), inputs);
    sums[2] = vmladavaq_s16(sums[2], vmovlbq_s8(cd), inputs);
    sums[3] = vmladavaq_s16(sums[3], packed ? vreinterpretq_s16_s8(cd) : vmovltq_s8(cd), inputs);
}

EDGEGROW_KERNEL void mve_keep(const int32_t sums[4], struct pair *ab, struct pair *cd) {
    *ab = (struct pair){(uint32_t)sums[0], (uint32_t)sums[1]};
    *cd = (struct pair){(uint32_t)sums[2], (uint32_t)sums[3]};
}

/* Sum the products of whole eights of a column's inputs. */
EDGEGROW_KERNEL void mve_column(int packed, const uint32_t *weights, const int16_t *inputs, int eights,
                                struct pair *ab, struct pair *cd) {
    int32_t sums[4] = {0, 0, 0, 0};
    for (int i = 0; i < eights; i++) {
        mve_step(packed, weights, vldrhq_s16(inputs), sums);
        weights += 8;
        inputs += 8;
    }
    mve_keep(sums, ab, cd);
}

/* The same of int8 inputs, of which each four are ordered as edgegrow_fully_connected.h orders weights. */
EDGEGROW_KERNEL void mve_row(int packed, const uint32_t *weights, const int8_t *inputs, int eights,
                             struct pair *ab, struct pair *cd) {
    static const uint16_t order[8] = {0, 2, 1, 3, 4, 6, 5, 7};
    const uint16x8_t offsets = vldrhq_u16(order);
    int32_t sums[4] = {0, 0, 0, 0};
    for (int i = 0; i < eights; i++) {
        mve_step(packed, weights, vldrbq_gather_offset_s16(inputs, offsets), sums);
        weights += 8;
        inputs += 8;
    }
    mve_keep(sums, ab, cd);
}

/* Scales of four channels or positions. */
struct mve_scale {
    int32x4_t fraction, addend, shift;
};

/* Of as many channels as there are lanes, or one for all of them. */
EDGEGROW_KERNEL struct mve_scale mve_scales(const struct scale *scales, int per_channel, mve_pred16_t lanes) {
    if (!per_channel) {
        return (struct mve_scale){vdupq_n_s32(scales->fraction), vdupq_n_s32(scales->addend),
                                  vdupq_n_s32(scales->shift)};
    }
    const uint32x4_t offsets = vmulq_n_u32(vidupq_n_u32(0, 1), sizeof *scales);
    return (struct mve_scale){vldrwq_gather_offset_z_s32(&scales->fraction, offsets, lanes),
                              vldrwq_gather_offset_z_s32(&scales->addend, offsets, lanes),
                              vldrwq_gather_offset_z_s32(&scales->shift, offsets, lanes)};
}

/* to_output of four sums, where it is fast. */
EDGEGROW_KERNEL int32x4_t mve_outputs(int32x4_t sums, struct mve_scale scale, const struct output *output) {
    int32x4_t high = vrmulhq_s32(sums, scale.fraction);
    if (!output->one_sign) {
        high = vaddq_s32(high, vshrq_n_s32(high, 31));
    }
    high = vshlq_s32(vaddq_s32(high, scale.addend), vnegq_s32(scale.shift));
    return vmaxq_s32(vminq_s32(high, vdupq_n_s32(output->high)), vdupq_n_s32(output->low));
}

/* Write the outputs of up to four channels, `count` of them, of one column. */
EDGEGROW_KERNEL void mve_channels(int packed, int per_channel, struct pair ab, struct pair cd, int count,
                                  const int32_t *bias, const struct scale *scales,
                                  const struct output *output, int8_t *out) {
    const mve_pred16_t lanes = vctp32q((uint32_t)count);
    const uint32_t room = packed ? (uint32_t)(8 - output->fast) : 0;
    const uint32_t b = packed ? (uint32_t)((int32_t)(ab.b - ab.a) >> room) : ab.b << output->fast;
    const uint32_t d = packed ? (uint32_t)((int32_t)(cd.b - cd.a) >> room) : cd.b << output->fast;
    const int32_t given[4] = {(int32_t)(ab.a << output->fast), (int32_t)b, (int32_t)(cd.a << output->fast),
                              (int32_t)d};
    const int32x4_t sums = vaddq_s32(vldrwq_s32(given), vldrwq_z_s32(bias, lanes));
    vstrbq_p_s32(out, mve_outputs(sums, mve_scales(scales, per_channel, lanes), output), lanes);
}

/* Eight of them must lie within 16 bits of the first. */
#define MVE_GATHER_STRIDE (UINT16_MAX / 7)

/* Every `stride`-th of a row's bytes, widened; the stride is at most MVE_GATHER_STRIDE. */
EDGEGROW_KERNEL void mve_gather(int16_t *to, const int8_t *from, int stride, int count) {
    const uint16x8_t offsets = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)stride);
    for (int i = 0; i < count; i += 8) {
        const mve_pred16_t lanes = vctp16q((uint32_t)(count - i));
        vstrhq_p_s16(to + i, vldrbq_gather_offset_z_s16(from, offsets, lanes), lanes);
        from += 8 * stride;
    }
}
#else
#define EDGEGROW_MVE 0

EDGEGROW_KERNEL int mve_widen(int16_t *to, const int8_t *from, int count) {
    (void)to, (void)from, (void)count;
    return 0;
}
#endif

#endif
