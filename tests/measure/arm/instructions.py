"""Instructions, and what the counter must make of them: assembly | kind and lanes | another CPU."""

A64 = """
add x1, x2, x3 | integer
movz x1, #5 | integer
adr x1, 9f | integer
lsl x1, x2, x3 | integer
csel x1, x2, x3, eq | integer
crc32b w1, w2, w3 | integer
clz x1, x2 | integer
madd x1, x2, x3, x4 | multiply
smulh x1, x2, x3 | multiply
udiv x1, x2, x3 | multiply
sdiv w1, w2, w3 | multiply
ldr x1, [x20] | load
ldrsb w1, [x20, #1] | load
ldur w1, [x20, #3] | load
ldp x1, x2, [x20] | load
ldr q1, [x20] | load
ldr s1, [x20, x21] | load
ldp q1, q2, [x20] | load
ld1 {v1.16b}, [x20] | load
ld1r {v1.4s}, [x20] | load
ldxr x1, [x20] | load
ldar x1, [x20] | load
ldaprb w1, [x20] | load
ldr x1, 9f | load
str x1, [x20] | store
strb w1, [x20, #1] | store
stp x1, x2, [x20] | store
str q1, [x20] | store
st1 {v1.16b, v2.16b}, [x20] | store
stxr w1, x2, [x20] | store
stlr x1, [x20] | store
ldadd x1, x2, [x20] | store
swp x1, x2, [x20] | store
cas x1, x2, [x20] | store
b 9f | branch
cbz x1, 9f | branch
tbnz x1, #3, 9f | branch
b.ne 9f | branch
bl 9f | branch
br x22 | branch
fadd s1, s2, s3 | float
fmul d1, d2, d3 | float
fcvtzs w1, s2 | float
fmov s1, w2 | float
fcmp s1, s2 | float
fmadd s1, s2, s3, s4 | float 1
fnmsub d1, d2, d3, d4 | float 1
fadd v1.4s, v2.4s, v3.4s | simd
fmul v1.4s, v2.4s, v3.s[0] | simd
mul v1.8h, v2.8h, v3.8h | simd
smull v1.8h, v2.8b, v3.8b | simd 8
umull v1.4s, v2.4h, v3.h[1] | simd 4
movi v1.4s, #0 | simd
dup v1.4s, w2 | simd
tbl v1.16b, {v2.16b}, v3.16b | simd
addv s1, v2.4s | simd
sqrdmulh v1.4s, v2.4s, v3.4s | simd
sqrdmulh v1.4s, v2.4s, v3.s[1] | simd
sqxtn v1.8b, v2.8h | simd
sadalp v1.4s, v2.8h | simd
fmla v1.4s, v2.4s, v3.4s | simd 4
fmls v1.2d, v2.2d, v3.2d | simd 2
fmla v1.2s, v2.2s, v3.s[1] | simd 2
fmla v1.4s, v2.4s, v3.s[3] | simd 4
fmla v1.8h, v2.8h, v3.8h | simd 8
fmla v1.4h, v2.4h, v3.h[1] | simd 4
fmla s1, s2, v3.s[1] | simd 1
mla v1.16b, v2.16b, v3.16b | simd 16
mls v1.4s, v2.4s, v3.s[1] | simd 4
smlal v1.4s, v2.4h, v3.4h | simd 4
smlal2 v1.8h, v2.16b, v3.16b | simd 8
umlal v1.4s, v2.4h, v3.h[1] | simd 4
smlsl v1.2d, v2.2s, v3.s[1] | simd 2
sqdmlal v1.4s, v2.4h, v3.h[0] | simd 4
sdot v1.4s, v2.16b, v3.16b | simd 16
udot v1.2s, v2.8b, v3.8b | simd 8
sdot v1.4s, v2.16b, v3.4b[2] | simd 16
nop | other
isb | other
dmb ish | other
prfm pldl1keep, [x20] | other
mrs x1, tpidr_el0 | other
usdot v1.4s, v2.16b, v3.16b | simd 16 | max
sudot v1.4s, v2.16b, v3.4b[1] | simd 16 | max
smmla v1.4s, v2.16b, v3.16b | simd 32 | max
bfdot v1.4s, v2.8h, v3.8h | simd 8 | max
bfdot v1.4s, v2.8h, v3.2h[1] | simd 8 | max
bfmmla v1.4s, v2.8h, v3.8h | simd 16 | max
fmlal v1.4s, v2.4h, v3.4h | simd 4 | max
fmlal2 v1.4s, v2.4h, v3.4h | simd 4 | max
fmlsl v1.2s, v2.2h, v3.h[1] | simd 2 | max
fmlal2 v1.4s, v2.4h, v3.h[1] | simd 4 | max
"""

A32 = """
add r1, r2, r3 | integer
movw r1, #4660 | integer
clz r1, r2 | integer
qadd r1, r2, r3 | integer
uxtb r1, r2 | integer
cmp r1, #2 | integer
mul r1, r2, r3 | multiply
umlal r1, r2, r3, r4 | multiply
smlabb r1, r2, r3, r4 | multiply
smlad r1, r2, r3, r4 | multiply
smmul r1, r2, r3 | multiply
sdiv r1, r2, r5 | multiply
ldr r1, [r10] | load
ldrsh r1, [r10, #2] | load
ldrb r1, [r10, r11] | load
ldrd r2, r3, [r10] | load
ldm r10, {r1, r2, r3} | load
ldrex r1, [r10] | load
vldr s1, [r10] | load
vldm r10, {d0-d3} | load
vld1.32 {d0, d1}, [r10] | load
str r1, [r10] | store
strh r1, [r10, #2] | store
strd r2, r3, [r10] | store
stm r10, {r1, r2, r3} | store
strex r1, r2, [r10] | store
vstr d1, [r10] | store
vst1.8 {d0}, [r10] | store
b 9f | branch
bl 9f | branch
bx r6 | branch
beq 9f | branch
vadd.f32 s1, s2, s3 | float
vmov s1, r2 | float
vmov r1, r2, d1 | float
vcmp.f32 s1, s2 | float
vmrs APSR_nzcv, fpscr | float
vmla.f32 s1, s2, s3 | float 1
vfma.f64 d1, d2, d3 | float 1
vfnms.f32 s1, s2, s3 | float 1
vadd.f32 q1, q2, q3 | simd
vmul.f32 q1, q2, d3[0] | simd
vmull.s8 q1, d2, d3 | simd 8
vmull.s16 q1, d2, d3[0] | simd 4
vdup.32 q1, d2[0] | simd
vqrdmulh.s32 q1, q2, q3 | simd
vmovn.i32 d1, q2 | simd
vext.8 q1, q2, q3, #4 | simd
vmla.f32 q1, q2, q3 | simd 4
vmla.f32 d1, d2, d3[1] | simd 2
vmls.f32 q1, q2, d3[0] | simd 4
vfma.f32 q1, q2, q3 | simd 4
vmla.i8 q1, q2, q3 | simd 16
vmlal.s16 q1, d2, d3 | simd 4
vmlal.s8 q1, d2, d3 | simd 8
vmlal.s16 q1, d2, d3[2] | simd 4
vmlsl.s32 q1, d2, d3[1] | simd 2
vqdmlal.s16 q1, d2, d3[0] | simd 4
nop | other
dmb ish | other
pld [r10] | other
mrs r1, apsr | other
"""

T32 = """
movs r1, #3 | integer
lsls r1, r2, #2 | integer
muls r1, r2, r1 | multiply
ldr r1, [sp, #4] | load
ldrb r1, [r4, #1] | load
str r1, [r4] | store
push {r1} | store
pop {r1} | load
cbz r5, 9f; nop | branch
uxtb r1, r2 | integer
addw r1, r2, #4 | integer
tbb [pc, r5]; .byte 1, 0 | branch
"""
