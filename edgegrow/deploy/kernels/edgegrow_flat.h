/* Operators to which a tensor is a row of numbers. */
#ifndef EDGEGROW_FLAT_H
#define EDGEGROW_FLAT_H

#include "edgegrow_simd.h"

struct flat {
    int count;
};

#endif
