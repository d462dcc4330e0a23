// Two names that ring looks for on x86_64 and that its C code leaves out where it is built for size (OPENSSL_SMALL).
//
// Built for size, ring computes on P-256 and Curve25519 by what it has on boards, without 176 kB of tables of multiples and without
// assembly. There is one multiplication then, where otherwise there are a quicker one for public numbers and one for processors with
// ADX. They take and give the same. The names carry ring's version: with another ring the linker misses them, and this file is looked at.

#include <stdint.h>

#define RING(name) ring_core_0_17_14__##name

void RING(p256_point_mul_base)(uint64_t product[3][4], const uint64_t scalar[4]);
void RING(x25519_scalar_mult_generic_masked)(uint8_t product[32], const uint8_t scalar[32], const uint8_t point[32]);

void RING(p256_point_mul_base_vartime)(uint64_t product[3][4], const uint64_t scalar[4]) {
    RING(p256_point_mul_base)(product, scalar);
}

void RING(x25519_scalar_mult_adx)(uint8_t product[32], const uint8_t scalar[32], const uint8_t point[32]) {
    RING(x25519_scalar_mult_generic_masked)(product, scalar, point);
}
