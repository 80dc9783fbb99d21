/* Vectors of float32: loading and storing whole ones and parts, ReLU and the larger of two. */

#ifndef CERTFLOW_VECTORS_H
#define CERTFLOW_VECTORS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef LANES
#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#endif

#define CELL 4 /* outputs that pooling chooses one of; its number where none is chosen */

/* Which compiler made a library: those of another one may round otherwise. */
#ifdef __clang__
const char *certflow_compiler(void) { return __VERSION__; }
#else
const char *certflow_compiler(void) { return "gcc " __VERSION__; }
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t bits __attribute__((vector_size(4 * LANES)));

static inline vec load(const float *from) { return *(const vec *)from; }
static inline void store(float *to, vec values) { *(vec *)to = values; }

/* The first `number` values, zeros behind them; the last channels may be fewer than LANES. */
static inline vec load_some(const float *from, int number)
{
    if (number >= LANES)
        return load(from);
    vec values = {0};
    memcpy(&values, from, sizeof(float) * number);
    return values;
}

static inline void store_some(float *to, vec values, int number)
{
    if (number >= LANES)
        store(to, values);
    else
        memcpy(to, &values, sizeof(float) * number);
}

/* All bits of the first `number` lanes. */
static inline bits first_lanes(int number)
{
    bits mask;
    for (int lane = 0; lane < LANES; lane++)
        mask[lane] = lane < number ? -1 : 0;
    return mask;
}

static inline int least(int a, int b) { return a < b ? a : b; }

static inline int whole(int channels, int lanes) { return (channels + lanes - 1) / lanes * lanes; }

/* NaN stays NaN, as in torch's. */
static inline vec relu_of(vec value) { return (vec)((bits)value & ~(bits)(value < 0)); }

/* NaN if one is, as in torch's. */
static inline vec larger(vec a, vec b)
{
    bits first = (bits)(a > b) | (bits)(a != a);
    return (vec)(((bits)a & first) | ((bits)b & ~first));
}

#endif
