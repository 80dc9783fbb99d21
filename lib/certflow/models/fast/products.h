/* Small matrix products whose sums stay in registers. */

#ifndef CERTFLOW_PRODUCTS_H
#define CERTFLOW_PRODUCTS_H

#include "vectors.h"

#ifdef __AVX512F__
#define ROWS 8 /* places of a small product, so that its sums stay in registers */
#define FEWER 8 /* of one that is three vectors wide */
#else
#define ROWS 6
#define FEWER 4
#endif
#define PARTS 3 /* vectors that a small product is wide, at most */
/* COLUMNS: filters lie in memory so many output channels beside each other. TERMS: rows of a sum of outer products. Both, like SIDE
   and FEW, are stated in winograd.py. */
#define TILES 24 /* places at a time, so that what they need stays in the cache; a multiple of ROWS and FEWER */

/* `rows` places x `parts` vectors of output channels from `k` on: to[r, k] = sum over c of place[r][c] * filters[c, k]. */
static inline __attribute__((always_inline)) void block(const float *const *place, const float *filters, int terms, int k,
                                                        float *to, int stride, int rows, int parts)
{
    vec sum[ROWS][PARTS];
    const float *w[PARTS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int p = 0; p < parts; p++)
            sum[r][p] = (vec){0};
#pragma GCC unroll 4
    for (int p = 0; p < parts; p++) {
        int column = k + p * LANES;
        w[p] = filters + (ptrdiff_t)(column / COLUMNS) * terms * COLUMNS + column % COLUMNS;
    }
    for (int c = 0; c < terms; c++) {
        vec weight[PARTS];
#pragma GCC unroll 4
        for (int p = 0; p < parts; p++)
            weight[p] = load(w[p] + (ptrdiff_t)c * COLUMNS);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int p = 0; p < parts; p++)
                sum[r][p] += place[r][c] * weight[p];
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int p = 0; p < parts; p++)
            store(to + (ptrdiff_t)r * stride + k + p * LANES, sum[r][p]);
}

/* The same for `outputs` channels of TILES places, of which `number` count. Filters lie in panels [outputs / COLUMNS, terms, COLUMNS].
   Blocks are two vectors wide, and one of them three where the number of vectors is odd. */
static inline void multiply(const float *const place[TILES], int number, const float *filters, int terms, int outputs,
                            float *to, int stride)
{
    int k = 0, vectors = (outputs + LANES - 1) / LANES;
    if (vectors == 1)
        for (int t = 0; t < number; t += ROWS)
            block(place + t, filters, terms, 0, to + (ptrdiff_t)t * stride, stride, ROWS, 1);
    else if (vectors % 2) {
        for (int t = 0; t < number; t += FEWER)
            block(place + t, filters, terms, 0, to + (ptrdiff_t)t * stride, stride, FEWER, 3);
        k = 3 * LANES;
    }
    for (; k + LANES < vectors * LANES; k += 2 * LANES)
        for (int t = 0; t < number; t += ROWS)
            block(place + t, filters, terms, k, to + (ptrdiff_t)t * stride, stride, ROWS, 2);
}

/* TERMS rows x `parts` vectors of a sum of outer products: to[r, k] += sum over t of left[t, r] * right[t, k]. */
static inline __attribute__((always_inline)) void outer(const float *left, int apart, const float *right, int stride, int number,
                                                        float *to, int parts)
{
    vec sum[TERMS][PARTS];
#pragma GCC unroll 4
    for (int r = 0; r < TERMS; r++)
#pragma GCC unroll 4
        for (int p = 0; p < parts; p++)
            sum[r][p] = load(to + (ptrdiff_t)r * stride + p * LANES);
    for (int t = 0; t < number; t++, left += apart, right += stride) {
        vec value[PARTS];
#pragma GCC unroll 4
        for (int p = 0; p < parts; p++)
            value[p] = load(right + p * LANES);
#pragma GCC unroll 4
        for (int r = 0; r < TERMS; r++)
#pragma GCC unroll 4
            for (int p = 0; p < parts; p++)
                sum[r][p] += left[r] * value[p];
    }
#pragma GCC unroll 4
    for (int r = 0; r < TERMS; r++)
#pragma GCC unroll 4
        for (int p = 0; p < parts; p++)
            store(to + (ptrdiff_t)r * stride + p * LANES, sum[r][p]);
}

/* to[c, k] += sum over t < number of left[t, c] * right[t, k], for c up to a multiple of TERMS `rows` and `outputs` channels.
   left: [number, apart], right: [number, stride], to: [rows, stride]. */
static inline void accumulate(const float *left, int apart, const float *right, int stride, int number, int rows, int outputs,
                              float *to)
{
    for (int k = 0; k < outputs; k += 2 * LANES)
        for (int c = 0; c < rows; c += TERMS) {
            if (k + LANES < outputs)
                outer(left + c, apart, right + k, stride, number, to + (ptrdiff_t)c * stride + k, 2);
            else
                outer(left + c, apart, right + k, stride, number, to + (ptrdiff_t)c * stride + k, 1);
        }
}

#endif
