/* Philox4x32-10 for the CPU: uniforms with the same bits as lib/certflow/noise/philox.py and grey levels equal to lib/certflow/noise/steps.py,
 * an order of magnitude faster than torch's integer operations. Compiled on first use by lib/certflow/noise/fast/native.py; without a
 * compiler the torch versions do the work.
 *
 * Lane l of group g in row r: lanes[l][r * stride + g] for floats, out[(4 * r + l) * groups + g] for levels. Every operation
 * on floats here is a single correctly rounded one (conversion, addition, multiplication by a power of two), so torch cannot
 * round differently.
 */
#include <stdint.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define LARGEST_UNIFORM 0x1.fffffep-1f
#define HIGH_STREAM 0x80000000u
#define LOW_STREAM 0xC0000000u
#define LOW_BITS 30
#define BLOCK 256 /* groups, a multiple of 2 LANES */
#define ROUNDS 10
#define LOW 0xFFFFFFFFu

/* Several groups beside each other, a word each in the lower half of 64 bits. What is in the upper half never enters a product. */
#if defined(__AVX512F__)
#define LANES 8
#elif defined(__AVX2__)
#define LANES 4
#elif defined(__x86_64__)
#define LANES 2
#else
#define LANES 1
#endif
typedef uint64_t wide __attribute__((vector_size(8 * LANES), aligned(8)));

static inline wide all(uint64_t value) { return (wide){0} + value; }

/* The products of the lower halves. */
static inline wide times(wide a, wide b)
{
#if defined(__AVX512F__)
    return (wide)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (wide)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
    return (wide)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & LOW) * (b & LOW);
#endif
}

static inline void philox(wide c0, wide c1, wide c2, wide c3, uint64_t seed, wide word[4])
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < ROUNDS; round++) {
        const wide p = times(c0, all(0xD2511F53u)), q = times(c2, all(0xCD9E8D57u));
        c0 = (q >> 32) ^ c1 ^ k0;
        c1 = q;
        c2 = (p >> 32) ^ c3 ^ k1;
        c3 = p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    word[0] = c0;
    word[1] = c1;
    word[2] = c2;
    word[3] = c3;
}

/* The words of one group. */
static inline void one_group(uint32_t group, uint32_t draw, uint32_t image, uint32_t stream, uint64_t seed, uint32_t word[4])
{
    wide found[4];
    philox(all(group), all(draw), all(image), all(stream), seed, found);
    for (int lane = 0; lane < 4; lane++)
        word[lane] = (uint32_t)found[lane][0];
}

/* The words of `size` groups from `begin` on, at most BLOCK, by lane; those behind them up to a multiple of 2 LANES are overwritten. */
static inline void block_of_words(uint32_t words[4][BLOCK], int64_t begin, int size, uint32_t draw, uint32_t image, uint32_t stream,
                                  uint64_t seed)
{
    wide even;
    for (int i = 0; i < LANES; i++)
        even[i] = (uint64_t)begin + 2 * i;
    for (int i = 0; i < size; i += 2 * LANES, even += 2 * LANES) {
        wide first[4], second[4];
        philox(even, all(draw), all(image), all(stream), seed, first);
        philox(even + 1, all(draw), all(image), all(stream), seed, second);
        for (int lane = 0; lane < 4; lane++) {
            const wide both = (first[lane] & LOW) | (second[lane] << 32);
            memcpy(&words[lane][i], &both, sizeof both);
        }
    }
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
    void name(float *const *lanes, int64_t stride, int64_t rows, int64_t groups, const int64_t *image, const int64_t *draw,        \
              uint64_t seed, uint32_t stream)                                                                                      \
    {                                                                                                                              \
        uint32_t words[4][BLOCK];                                                                                                  \
        for (int64_t row = 0; row < rows; row++)                                                                                   \
            for (int64_t begin = 0; begin < groups; begin += BLOCK) {                                                              \
                const int size = groups - begin < BLOCK ? (int)(groups - begin) : BLOCK;                                           \
                block_of_words(words, begin, size, (uint32_t)draw[row], (uint32_t)image[row], stream, seed);                       \
                for (int lane = 0; lane < 4; lane++) {                                                                             \
                    float *restrict to = lanes[lane] + row * stride + begin;                                                       \
                    for (int i = 0; i < size; i++)                                                                                 \
                        to[i] = convert(words[lane][i]);                                                                           \
                }                                                                                                                  \
            }                                                                                                                      \
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
        one_group(group, draw, image, stream + LOW_STREAM, seed, rest);
        const int64_t u = ((int64_t)word << LOW_BITS) | (rest[lane] >> (32 - LOW_BITS));
        while (low < count && limits[low] <= u)
            low++;
    }
    return low;
}

/* limits: `count` thresholds; start, high: the cells of lib/certflow/noise/grid.py, of which the leading 32 - shift bits of u choose. */
void certflow_steps(int16_t *out, int64_t rows, int64_t groups, const int64_t *image, const int64_t *draw, uint64_t seed,
                    uint32_t stream, const int64_t *limits, int32_t count, const int32_t *start, const uint32_t *high,
                    int32_t shift)
{
    uint32_t words[4][BLOCK];
    for (int64_t row = 0; row < rows; row++) {
        const uint32_t draw_word = (uint32_t)draw[row], image_word = (uint32_t)image[row];
        for (int64_t begin = 0; begin < groups; begin += BLOCK) {
            const int size = groups - begin < BLOCK ? (int)(groups - begin) : BLOCK;
            block_of_words(words, begin, size, draw_word, image_word, stream + HIGH_STREAM, seed);
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
void certflow_wide(double *restrict out, int64_t rows, uint32_t group, const int64_t *image, const int64_t *draw,
                   uint64_t seed, uint32_t stream)
{
    for (int64_t row = 0; row < rows; row++) {
        uint32_t word[4];
        one_group(group, (uint32_t)draw[row], (uint32_t)image[row], stream, seed, word);
        out[row] = ((double)(((uint64_t)word[0] << 20) | (word[1] >> 12)) + 0.5) * 0x1p-52;
    }
}
