/* 3x3 convolutions by Winograd's algorithm F(4x4, 3x3) (Lavin and Gray 2016): 36 products for 16 outputs instead of 144.

   An image is cut into tiles of 4x4 outputs, which see 6x6 inputs. Inputs and filters are transformed, multiplied and summed over
   channels as 36 small matrix products, and transformed back. The points of the transforms are 0, 1, -1, 2, -2 and infinity.
   Every output is summed in the same order whichever tiles lie beside its own. Images are [rows, height, width, channels].  */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 16
#define ROWS 12
#else
#define LANES 8
#define ROWS 6
#endif
#define COLUMNS 16 /* output channels of a small product, ROWS tiles high: its sums stay in registers */
#define PARTS (COLUMNS / LANES)
#define TILES 24 /* at a time, so that what is transformed stays in the cache; a multiple of ROWS */
#define POINTS 36

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t bits __attribute__((vector_size(4 * LANES)));

static inline vec load(const float *from) { return *(const vec *)from; }
static inline void store(float *to, vec values) { *(vec *)to = values; }

static inline void transform_input(const vec d[6], vec out[6])
{
    vec a = d[4] - 4.f * d[2], b = d[3] - 4.f * d[1], c = d[4] - d[2], e = 2.f * (d[3] - d[1]);
    out[0] = 4.f * (d[0] - d[2]) + c;
    out[1] = a + b;
    out[2] = a - b;
    out[3] = c + e;
    out[4] = c - e;
    out[5] = 4.f * (d[1] - d[3]) + (d[5] - d[3]);
}

static inline void transform_output(const vec m[6], vec out[4])
{
    vec a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], e = m[3] - m[4];
    out[0] = m[0] + a + c;
    out[1] = b + 2.f * e;
    out[2] = a + 4.f * c;
    out[3] = b + 8.f * e + m[5];
}

/* The 6x6 pixels of a tile, all channels, into place `tile` of each point's [TILES, channels]. */
static void scatter(const float *const pixel[POINTS], float *restrict to, int channels, int tile)
{
    for (int c = 0; c < channels; c += LANES) {
        vec half[6][6];
        for (int j = 0; j < 6; j++) {
            vec column[6], out[6];
            for (int i = 0; i < 6; i++)
                column[i] = load(pixel[6 * i + j] + c);
            transform_input(column, out);
            for (int i = 0; i < 6; i++)
                half[i][j] = out[i];
        }
        for (int i = 0; i < 6; i++) {
            vec out[6];
            transform_input(half[i], out);
            for (int j = 0; j < 6; j++)
                store(to + ((ptrdiff_t)(6 * i + j) * TILES + tile) * channels + c, out[j]);
        }
    }
}

/* [tiles, outputs] = [tiles, inputs] x [inputs, outputs], the filters in panels [outputs / COLUMNS, inputs, COLUMNS]. */
static void multiply(const float *restrict tiles, const float *restrict filters, float *restrict to, int number, int inputs,
                     int outputs)
{
    for (int k = 0; k < outputs; k += COLUMNS, filters += (ptrdiff_t)COLUMNS * inputs)
        for (int t = 0; t < number; t += ROWS) {
            vec sum[ROWS][PARTS];
#pragma GCC unroll 12
            for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
                for (int p = 0; p < PARTS; p++)
                    sum[r][p] = (vec){0};
            const float *x = tiles + (ptrdiff_t)t * inputs, *w = filters;
            for (int c = 0; c < inputs; c++, w += COLUMNS) {
                vec weight[PARTS];
#pragma GCC unroll 2
                for (int p = 0; p < PARTS; p++)
                    weight[p] = load(w + p * LANES);
#pragma GCC unroll 12
                for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
                    for (int p = 0; p < PARTS; p++)
                        sum[r][p] += x[(ptrdiff_t)r * inputs + c] * weight[p];
            }
#pragma GCC unroll 12
            for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
                for (int p = 0; p < PARTS; p++)
                    store(to + (ptrdiff_t)(t + r) * outputs + k + p * LANES, sum[r][p]);
        }
}

/* A tile's products back into `height` x `width` outputs; lines of the image are `line` numbers apart. */
static void gather(const float *from, float *y, const float *other, const float *bias, int relu, int height, int width,
                   ptrdiff_t line, int channels, int tile)
{
    for (int k = 0; k < channels; k += LANES) {
        vec half[4][6], constant = load(bias + k);
        for (int j = 0; j < 6; j++) {
            vec column[6], out[4];
            for (int i = 0; i < 6; i++)
                column[i] = load(from + ((ptrdiff_t)(6 * i + j) * TILES + tile) * channels + k);
            transform_output(column, out);
            for (int i = 0; i < 4; i++)
                half[i][j] = out[i];
        }
        for (int i = 0; i < height; i++) {
            vec out[4];
            transform_output(half[i], out);
            for (int j = 0; j < width; j++) {
                ptrdiff_t at = i * line + (ptrdiff_t)j * channels + k;
                vec value = out[j] + constant;
                if (other)
                    value += load(other + at);
                if (relu) /* NaN stays NaN, as in torch's */
                    value = (vec)((bits)value & ~(bits)(value < 0));
                store(y + at, value);
            }
        }
    }
}

/* How many numbers `certflow_convolve` needs to work in. */
int64_t certflow_scratch(int inputs, int outputs)
{
    return (int64_t)POINTS * TILES * (inputs + outputs) + inputs;
}

/* y = x * filters + bias (+ other) (, then ReLU) on `images` images.  x [images, height, width, inputs]; y and other, or NULL,
   [images, height + 2 pad - 2, width + 2 pad - 2, outputs]; bias [outputs]; filters transformed, [POINTS, panels of `multiply`].
   Channels are multiples of 16.  */
void certflow_convolve(const float *x, const float *filters, const float *bias, const float *other, float *y, float *scratch,
                       int64_t images, int height, int width, int inputs, int outputs, int pad, int relu)
{
    int rows = height + 2 * pad - 2, columns = width + 2 * pad - 2, across = (columns + 3) / 4;
    int64_t each = (int64_t)((rows + 3) / 4) * across, all = images * each;
    float *tiles = scratch, *products = tiles + (ptrdiff_t)POINTS * TILES * inputs;
    float *outside = products + (ptrdiff_t)POINTS * TILES * outputs;
    memset(outside, 0, sizeof(float) * inputs);
    memset(tiles, 0, sizeof(float) * POINTS * TILES * inputs); /* places that no tile fills are multiplied, too */
    for (int64_t first = 0; first < all; first += TILES) {
        int number = all - first < TILES ? (int)(all - first) : TILES;
        for (int t = 0; t < number; t++) {
            int64_t image = (first + t) / each;
            int place = (int)((first + t) % each), top = place / across * 4 - pad, left = place % across * 4 - pad;
            const float *whole = x + image * height * width * inputs, *pixel[POINTS];
            for (int i = 0; i < 6; i++)
                for (int j = 0; j < 6; j++) {
                    int row = top + i, column = left + j;
                    int inside = row >= 0 && row < height && column >= 0 && column < width;
                    pixel[6 * i + j] = inside ? whole + ((ptrdiff_t)row * width + column) * inputs : outside;
                }
            scatter(pixel, tiles, inputs, t);
        }
        for (int p = 0; p < POINTS; p++)
            multiply(tiles + (ptrdiff_t)p * TILES * inputs, filters + (ptrdiff_t)p * inputs * outputs,
                     products + (ptrdiff_t)p * TILES * outputs, (number + ROWS - 1) / ROWS * ROWS, inputs, outputs);
        for (int t = 0; t < number; t++) {
            int64_t image = (first + t) / each;
            int place = (int)((first + t) % each), top = place / across * 4, left = place % across * 4;
            ptrdiff_t at = ((ptrdiff_t)(image * rows + top) * columns + left) * outputs;
            gather(products, y + at, other ? other + at : NULL, bias, relu, rows - top < 4 ? rows - top : 4,
                   columns - left < 4 ? columns - left : 4, (ptrdiff_t)columns * outputs, outputs, t);
        }
    }
}
