/* Convolutions by Winograd's algorithm (Lavin and Gray 2016): F(4x4, 3x3) takes 36 products for 16 outputs instead of 144,
   F(2x2, 5x5) 36 for 4 instead of 100.

   An image is cut into tiles of 4x4 or 2x2 outputs, which see 6x6 inputs. Inputs and filters are transformed, multiplied and summed
   over channels as 36 small matrix products, and transformed back. The points of the transforms are 0, 1, -1, 2, -2 and infinity.
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

static inline int whole(int channels, int lanes) { return (channels + lanes - 1) / lanes * lanes; }

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

/* side: 4 or 2 outputs. */
static inline void transform_output(const vec m[6], vec out[4], int side)
{
    vec a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], e = m[3] - m[4];
    out[0] = m[0] + a + c;
    if (side == 2) {
        out[1] = b + 2.f * e + m[5];
        return;
    }
    out[1] = b + 2.f * e;
    out[2] = a + 4.f * c;
    out[3] = b + 8.f * e + m[5];
}

/* The 6x6 pixels of a tile, all channels, into place `tile` of each point's [TILES, stride]. */
static void scatter(const float *const pixel[POINTS], float *restrict to, int channels, int stride, int tile)
{
    for (int c = 0; c < channels; c += LANES) {
        vec half[6][6];
        for (int j = 0; j < 6; j++) {
            vec column[6], out[6];
            for (int i = 0; i < 6; i++)
                column[i] = load_some(pixel[6 * i + j] + c, channels - c);
            transform_input(column, out);
            for (int i = 0; i < 6; i++)
                half[i][j] = out[i];
        }
        for (int i = 0; i < 6; i++) {
            vec out[6];
            transform_input(half[i], out);
            for (int j = 0; j < 6; j++)
                store(to + ((ptrdiff_t)(6 * i + j) * TILES + tile) * stride + c, out[j]);
        }
    }
}

/* [tiles, outputs] = [tiles, inputs] x [inputs, outputs], the filters in panels [outputs / COLUMNS, inputs, COLUMNS]; lines of
   tiles lie `stride` apart. */
static void multiply(const float *restrict tiles, int stride, const float *restrict filters, float *restrict to, int number,
                     int inputs, int outputs)
{
    for (int k = 0; k < outputs; k += COLUMNS, filters += (ptrdiff_t)COLUMNS * inputs)
        for (int t = 0; t < number; t += ROWS) {
            vec sum[ROWS][PARTS];
#pragma GCC unroll 12
            for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
                for (int p = 0; p < PARTS; p++)
                    sum[r][p] = (vec){0};
            const float *x = tiles + (ptrdiff_t)t * stride, *w = filters;
            for (int c = 0; c < inputs; c++, w += COLUMNS) {
                vec weight[PARTS];
#pragma GCC unroll 2
                for (int p = 0; p < PARTS; p++)
                    weight[p] = load(w + p * LANES);
#pragma GCC unroll 12
                for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
                    for (int p = 0; p < PARTS; p++)
                        sum[r][p] += x[(ptrdiff_t)r * stride + c] * weight[p];
            }
#pragma GCC unroll 12
            for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
                for (int p = 0; p < PARTS; p++)
                    store(to + (ptrdiff_t)(t + r) * outputs + k + p * LANES, sum[r][p]);
        }
}

/* A tile's products back into `height` x `width` of its side x side outputs; lines of the image are `line` numbers apart. */
static inline void gather(const float *from, int stride, float *y, const float *other, const float *bias, int relu, int height,
                          int width, ptrdiff_t line, int channels, int tile, int side)
{
    for (int k = 0; k < channels; k += LANES) {
        vec half[4][6], constant = load(bias + k);
        for (int j = 0; j < 6; j++) {
            vec column[6], out[4];
            for (int i = 0; i < 6; i++)
                column[i] = load(from + ((ptrdiff_t)(6 * i + j) * TILES + tile) * stride + k);
            transform_output(column, out, side);
            for (int i = 0; i < side; i++)
                half[i][j] = out[i];
        }
        for (int i = 0; i < height; i++) {
            vec out[4];
            transform_output(half[i], out, side);
            for (int j = 0; j < width; j++) {
                ptrdiff_t at = i * line + (ptrdiff_t)j * channels + k;
                vec value = out[j] + constant;
                if (other)
                    value += load_some(other + at, channels - k);
                if (relu) /* NaN stays NaN, as in torch's */
                    value = (vec)((bits)value & ~(bits)(value < 0));
                store_some(y + at, value, channels - k);
            }
        }
    }
}

static inline int least(int a, int b) { return a < b ? a : b; }

/* How many numbers `certflow_convolve` needs to work in. */
int64_t certflow_scratch(int inputs, int outputs)
{
    return (int64_t)POINTS * TILES * (whole(inputs, LANES) + whole(outputs, COLUMNS)) + inputs;
}

/* y = x * filters + bias (+ other) (, then ReLU) on `images` images.  x [images, height, width, inputs]; y and other, or NULL,
   [images, height + 2 pad - kernel + 1, width + 2 pad - kernel + 1, outputs]; filters transformed, [POINTS, panels of `multiply`],
   and bias, both with zeros up to a multiple of COLUMNS outputs.  kernel: 3 or 5.  */
void certflow_convolve(const float *x, const float *filters, const float *bias, const float *other, float *y, float *scratch,
                       int64_t images, int height, int width, int inputs, int outputs, int kernel, int pad, int relu)
{
    int rows = height + 2 * pad - kernel + 1, columns = width + 2 * pad - kernel + 1, side = 7 - kernel;
    int across = (columns + side - 1) / side, in = whole(inputs, LANES), out = whole(outputs, COLUMNS);
    int64_t each = (int64_t)((rows + side - 1) / side) * across, all = images * each;
    float *tiles = scratch, *products = tiles + (ptrdiff_t)POINTS * TILES * in;
    float *outside = products + (ptrdiff_t)POINTS * TILES * out;
    memset(outside, 0, sizeof(float) * inputs);
    memset(tiles, 0, sizeof(float) * POINTS * TILES * in); /* places that no tile fills are multiplied, too */
    for (int64_t first = 0; first < all; first += TILES) {
        int number = all - first < TILES ? (int)(all - first) : TILES;
        for (int t = 0; t < number; t++) {
            int64_t image = (first + t) / each;
            int place = (int)((first + t) % each), top = place / across * side - pad, left = place % across * side - pad;
            const float *own = x + image * height * width * inputs, *pixel[POINTS];
            for (int i = 0; i < 6; i++)
                for (int j = 0; j < 6; j++) {
                    int row = top + i, column = left + j;
                    int inside = row >= 0 && row < height && column >= 0 && column < width;
                    pixel[6 * i + j] = inside ? own + ((ptrdiff_t)row * width + column) * inputs : outside;
                }
            scatter(pixel, tiles, inputs, in, t);
        }
        for (int p = 0; p < POINTS; p++)
            multiply(tiles + (ptrdiff_t)p * TILES * in, in, filters + (ptrdiff_t)p * inputs * out,
                     products + (ptrdiff_t)p * TILES * out, whole(number, ROWS), inputs, out);
        for (int t = 0; t < number; t++) {
            int64_t image = (first + t) / each;
            int place = (int)((first + t) % each), top = place / across * side, left = place % across * side;
            ptrdiff_t at = ((ptrdiff_t)(image * rows + top) * columns + left) * outputs, line = (ptrdiff_t)columns * outputs;
            const float *added = other ? other + at : NULL;
            int high = least(rows - top, side), wide = least(columns - left, side);
            if (side == 4)
                gather(products, out, y + at, added, bias, relu, high, wide, line, outputs, t, 4);
            else
                gather(products, out, y + at, added, bias, relu, high, wide, line, outputs, t, 2);
        }
    }
}
