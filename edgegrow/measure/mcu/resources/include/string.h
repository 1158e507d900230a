/* The part of string.h that a bare-metal package may use; compilers know these functions by name. */
#ifndef EDGEGROW_STRING_H
#define EDGEGROW_STRING_H
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *left, const void *right, size_t n);
/* Zig compiles what has no operating system with -ffreestanding, where their names alone would be calls even for
 * four bytes. */
#define memcpy __builtin_memcpy
#define memmove __builtin_memmove
#define memset __builtin_memset
#define memcmp __builtin_memcmp
#endif
