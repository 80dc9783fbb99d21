/* Philox4x32-10 for the CPU: uniforms with the same bits as lib/certflow/noise/philox.py and grey levels equal to lib/certflow/noise/steps.py,
 * an order of magnitude faster than torch's integer operations. Compiled on first use by lib/certflow/noise/fast/native.py; without a
 * compiler the torch versions do the work.
 *
 * Lane l of group g in row r: lanes[l][r * stride + g] for floats, out[(4 * r + l) * groups + g] for levels. Every operation
 * on floats here is a single correctly rounded one (conversion, addition, multiplication by a power of two), so torch cannot
 * round differently.
 */
#include <stdint.h>

#define LARGEST_UNIFORM 0x1.fffffep-1f
#define HIGH_STREAM 0x80000000u
#define LOW_STREAM 0xC0000000u
#define LOW_BITS 30
#define BLOCK 256

#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__)
#define FOR_EACH_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_CPU
#endif

static inline void philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint64_t seed, uint32_t word[4])
{
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
    word[0] = c0;
    word[1] = c1;
    word[2] = c2;
    word[3] = c3;
}

static inline float uniform(uint32_t word)
{
    const float u = ((float)word + 0.5f) * 0x1p-32f;
    return u < LARGEST_UNIFORM ? u : LARGEST_UNIFORM;
}

/* The top bit is the sign, the other 31 bits are the size. */
static inline float signed_uniform(uint32_t word)
{
    const float v = ((float)(int32_t)(word & 0x7FFFFFFFu) + 0.5f) * 0x1p-31f;
    const float size = v < LARGEST_UNIFORM ? v : LARGEST_UNIFORM;
    return word >> 31 ? -size : size;
}

#define FILL(name, convert)                                                                                                        \
    FOR_EACH_CPU                                                                                                                   \
    void name(float *const *lanes, int64_t stride, int64_t rows, int64_t groups, const int64_t *image, const int64_t *draw,        \
              uint64_t seed, uint32_t stream)                                                                                      \
    {                                                                                                                              \
        for (int64_t row = 0; row < rows; row++) {                                                                                 \
            float *restrict u0 = lanes[0] + row * stride, *restrict u1 = lanes[1] + row * stride;                                  \
            float *restrict u2 = lanes[2] + row * stride, *restrict u3 = lanes[3] + row * stride;                                  \
            const uint32_t draw_word = (uint32_t)draw[row], image_word = (uint32_t)image[row];                                     \
            for (int64_t group = 0; group < groups; group++) {                                                                     \
                uint32_t word[4];                                                                                                  \
                philox((uint32_t)group, draw_word, image_word, stream, seed, word);                                                \
                u0[group] = convert(word[0]);                                                                                      \
                u1[group] = convert(word[1]);                                                                                      \
                u2[group] = convert(word[2]);                                                                                      \
                u3[group] = convert(word[3]);                                                                                      \
            }                                                                                                                      \
        }                                                                                                                          \
    }

FILL(certflow_uniforms, uniform)
FILL(certflow_signed, signed_uniform)

/* Number of thresholds <= u, where `word` holds the leading bits of u; the rest is drawn only if it decides. */
static int32_t search(uint32_t word, int lane, uint32_t group, uint32_t draw, uint32_t image, uint32_t stream, uint64_t seed,
                      const int64_t *limits, int32_t count)
{
    int32_t low = 0, high = count;
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        if ((uint32_t)(limits[middle] >> LOW_BITS) < word)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < count && (uint32_t)(limits[low] >> LOW_BITS) == word) {
        uint32_t rest[4];
        philox(group, draw, image, stream + LOW_STREAM, seed, rest);
        const int64_t u = ((int64_t)word << LOW_BITS) | (rest[lane] >> (32 - LOW_BITS));
        while (low < count && limits[low] <= u)
            low++;
    }
    return low;
}

/* limits: `count` thresholds; start, high: the cells of lib/certflow/noise/grid.py, of which the leading 32 - shift bits of u choose. */
FOR_EACH_CPU
void certflow_steps(int16_t *out, int64_t rows, int64_t groups, const int64_t *image, const int64_t *draw, uint64_t seed,
                    uint32_t stream, const int64_t *limits, int32_t count, const int32_t *start, const uint32_t *high,
                    int32_t shift)
{
    uint32_t words[4][BLOCK];
    for (int64_t row = 0; row < rows; row++) {
        const uint32_t draw_word = (uint32_t)draw[row], image_word = (uint32_t)image[row];
        for (int64_t begin = 0; begin < groups; begin += BLOCK) {
            const int size = groups - begin < BLOCK ? (int)(groups - begin) : BLOCK;
            for (int i = 0; i < size; i++) {
                uint32_t word[4];
                philox((uint32_t)(begin + i), draw_word, image_word, stream + HIGH_STREAM, seed, word);
                for (int lane = 0; lane < 4; lane++)
                    words[lane][i] = word[lane];
            }
            for (int lane = 0; lane < 4; lane++) {
                int16_t *restrict to = out + (4 * row + lane) * groups + begin;
                for (int i = 0; i < size; i++) {
                    const uint32_t word = words[lane][i], cell = word >> shift, edge = high[cell];
                    int32_t below = start[cell] + (word > edge);
                    if (__builtin_expect(start[cell] < 0 || word == edge, 0))
                        below = search(word, lane, (uint32_t)(begin + i), draw_word, image_word, stream, seed, limits, count);
                    to[i] = (int16_t)(below - count / 2);
                }
            }
        }
    }
}

/* One float64 per row, from the first two words of one group: their upper 52 bits and a half, over 2**52. */
FOR_EACH_CPU
void certflow_wide(double *restrict out, int64_t rows, uint32_t group, const int64_t *image, const int64_t *draw,
                   uint64_t seed, uint32_t stream)
{
    for (int64_t row = 0; row < rows; row++) {
        uint32_t word[4];
        philox(group, (uint32_t)draw[row], (uint32_t)image[row], stream, seed, word);
        out[row] = ((double)(((uint64_t)word[0] << 20) | (word[1] >> 12)) + 0.5) * 0x1p-52;
    }
}
