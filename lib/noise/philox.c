/* Philox4x32-10 uniforms for the CPU: the same bits as lib/noise/philox.py, an order of magnitude faster than torch's
 * integer operations. Compiled on first use by lib/noise/native.py; without a compiler the torch version does the work.
 *
 * Lane l of group g in row r goes to lanes[l][r * stride + g]. Every arithmetic operation on floats here is a single
 * correctly rounded one (conversion, addition, multiplication by a power of two), so torch cannot round differently.
 */
#include <stdint.h>

#define LARGEST_UNIFORM 0x1.fffffep-1f

static inline float uniform(uint32_t word)
{
    const float u = ((float)word + 0.5f) * 0x1p-32f;
    return u < LARGEST_UNIFORM ? u : LARGEST_UNIFORM;
}

#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
void certflow_uniforms(float *const *lanes, int64_t stride, int64_t rows, int64_t groups, const int64_t *image,
                       const int64_t *draw, uint64_t seed, uint32_t stream)
{
    for (int64_t row = 0; row < rows; row++) {
        float *restrict u0 = lanes[0] + row * stride, *restrict u1 = lanes[1] + row * stride;
        float *restrict u2 = lanes[2] + row * stride, *restrict u3 = lanes[3] + row * stride;
        const uint32_t draw_word = (uint32_t)draw[row], image_word = (uint32_t)image[row];
        for (int64_t group = 0; group < groups; group++) {
            uint32_t c0 = (uint32_t)group, c1 = draw_word, c2 = image_word, c3 = stream;
            uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma GCC unroll 10
            for (int round = 0; round < 10; round++) {
                const uint64_t p = (uint64_t)c0 * 0xD2511F53u, q = (uint64_t)c2 * 0xCD9E8D57u;
                c0 = (uint32_t)(q >> 32) ^ c1 ^ k0;
                c1 = (uint32_t)q;
                c2 = (uint32_t)(p >> 32) ^ c3 ^ k1;
                c3 = (uint32_t)p;
                k0 += 0x9E3779B9u;
                k1 += 0xBB67AE85u;
            }
            u0[group] = uniform(c0);
            u1[group] = uniform(c1);
            u2[group] = uniform(c2);
            u3[group] = uniform(c3);
        }
    }
}
