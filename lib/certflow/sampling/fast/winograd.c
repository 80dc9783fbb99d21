/* Convolutions by Winograd's algorithm (Lavin and Gray 2016): F(4x4, 3x3) takes 36 products for 16 outputs instead of 144,
   F(4x4, 5x5) 64 instead of 400.

   An image is cut into tiles of 4x4 outputs, which see 6x6 or 8x8 inputs. Inputs and filters are transformed, multiplied and summed
   over channels as 36 or 64 small matrix products, and transformed back. The points of the transforms are 0, 1, -1, 2, -2, for 5x5 also
   1/2 and -1/2, and infinity. Every output is summed in the same order whichever tiles lie beside its own. Images are [rows, height,
   width, channels].  */

#include "products.h"

#define SIDE 4 /* of a tile of outputs */
#define MOST 8 /* inputs along a tile; 6 for 3x3 */

static inline __attribute__((always_inline)) void transform_input(const vec d[MOST], vec out[MOST], int n)
{
    if (n == 6) {
        vec a = d[4] - 4.f * d[2], b = d[3] - 4.f * d[1], c = d[4] - d[2], e = 2.f * (d[3] - d[1]);
        out[0] = 4.f * (d[0] - d[2]) + c;
        out[1] = a + b;
        out[2] = a - b;
        out[3] = c + e;
        out[4] = c - e;
        out[5] = 4.f * (d[1] - d[3]) + (d[5] - d[3]);
        return;
    }
    vec a = d[2] + d[6] - 4.25f * d[4], b = d[1] + d[5] - 4.25f * d[3];
    vec c = d[6] + .25f * d[2] - 1.25f * d[4], e = .5f * d[1] - 2.5f * d[3] + 2.f * d[5];
    vec f = d[6] + 4.f * d[2] - 5.f * d[4], g = 2.f * d[1] - 2.5f * d[3] + .5f * d[5];
    out[0] = d[0] - d[6] + 5.25f * (d[4] - d[2]);
    out[1] = a + b;
    out[2] = a - b;
    out[3] = c + e;
    out[4] = c - e;
    out[5] = f + g;
    out[6] = f - g;
    out[7] = d[7] - d[1] + 5.25f * (d[3] - d[5]);
}

static inline __attribute__((always_inline)) void transform_output(const vec m[MOST], vec out[SIDE], int n)
{
    vec a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], e = m[3] - m[4];
    out[0] = m[0] + a + c;
    out[1] = b + 2.f * e;
    out[2] = a + 4.f * c;
    out[3] = b + 8.f * e + m[n - 1];
    if (n == 8) {
        vec f = m[5] + m[6], g = m[5] - m[6];
        out[0] += f;
        out[1] += .5f * g;
        out[2] += .25f * f;
        out[3] += .125f * g;
    }
}

/* The n x n pixels of a tile, all channels, into place `tile` of each point's [TILES, stride]. */
static inline __attribute__((always_inline)) void scatter(const float *const *pixel, float *restrict to, int channels, int stride,
                                                          int tile, int n)
{
    for (int c = 0; c < channels; c += LANES) {
        vec half[MOST][MOST];
        for (int j = 0; j < n; j++) {
            vec column[MOST], out[MOST];
            for (int i = 0; i < n; i++)
                column[i] = load_some(pixel[n * i + j] + c, channels - c);
            transform_input(column, out, n);
            for (int i = 0; i < n; i++)
                half[i][j] = out[i];
        }
        for (int i = 0; i < n; i++) {
            vec out[MOST];
            transform_input(half[i], out, n);
            for (int j = 0; j < n; j++)
                store(to + ((ptrdiff_t)(n * i + j) * TILES + tile) * stride + c, out[j]);
        }
    }
}

/* The image that outputs are written to: its first number, what is added to it or NULL, and how far its lines are apart. */
struct image {
    float *y;
    const float *other;
    ptrdiff_t line;
    int channels, relu, pool;
};

static inline __attribute__((always_inline)) void write(struct image to, ptrdiff_t at, int k, vec value)
{
    if (to.other)
        value += load_some(to.other + at, to.channels - k);
    store_some(to.y + at, to.relu ? relu_of(value) : value, to.channels - k);
}

/* A tile's products back into `height` x `width` of its outputs; where `pool` is, each the largest of 2x2. */
static inline __attribute__((always_inline)) void gather(const float *from, int stride, struct image to, const float *bias, int height,
                                                         int width, int tile, int n)
{
    for (int k = 0; k < to.channels; k += LANES) {
        vec half[SIDE][MOST], constant = load(bias + k);
        for (int j = 0; j < n; j++) {
            vec column[MOST], out[SIDE];
            for (int i = 0; i < n; i++)
                column[i] = load(from + ((ptrdiff_t)(n * i + j) * TILES + tile) * stride + k);
            transform_output(column, out, n);
            for (int i = 0; i < SIDE; i++)
                half[i][j] = out[i];
        }
        for (int i = 0; i < height; i++) {
            vec out[SIDE], below[SIDE];
            transform_output(half[to.pool ? 2 * i : i], out, n);
            if (to.pool) {
                transform_output(half[2 * i + 1], below, n);
                for (int j = 0; j < SIDE / 2; j++)
                    out[j] = larger(larger(out[2 * j], out[2 * j + 1]), larger(below[2 * j], below[2 * j + 1]));
            }
            for (int j = 0; j < width; j++)
                write(to, i * to.line + (ptrdiff_t)j * to.channels + k, k, out[j] + constant);
        }
    }
}

/* Images, and what is computed from them: see `certflow_convolve`. rows, columns: of y. */
struct job {
    const float *x, *filters, *bias;
    float *scratch;
    struct image to;
    int64_t images;
    int height, width, inputs, rows, columns, pad;
};

/* A tile's place among those of an image. */
struct tile {
    int64_t image;
    int row, column;
};

/* Pointers to the n x n pixels of a tile; to `outside` for those that are padding. */
static inline __attribute__((always_inline)) void find(const struct job *job, struct tile tile, const float *outside,
                                                       const float *pixel[MOST * MOST], int n)
{
    int top = tile.row * SIDE - job->pad, left = tile.column * SIDE - job->pad;
    ptrdiff_t line = (ptrdiff_t)job->width * job->inputs;
    ptrdiff_t first = (tile.image * job->height + top) * line + (ptrdiff_t)left * job->inputs;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            int inside = top + i >= 0 && top + i < job->height && left + j >= 0 && left + j < job->width;
            pixel[n * i + j] = inside ? job->x + first + i * line + (ptrdiff_t)j * job->inputs : outside;
        }
}

static inline __attribute__((always_inline)) void convolve(const struct job *job, int n)
{
    int outputs = job->to.channels, in = whole(job->inputs, LANES), out = whole(outputs, COLUMNS);
    int step = job->to.pool ? SIDE / 2 : SIDE; /* of y */
    int down = (job->rows + step - 1) / step, across = (job->columns + step - 1) / step;
    float *tiles = job->scratch, *products = tiles + (ptrdiff_t)n * n * TILES * in;
    float *outside = products + (ptrdiff_t)n * n * TILES * out;
    memset(outside, 0, sizeof(float) * job->inputs);
    memset(tiles, 0, sizeof(float) * n * n * TILES * in); /* places that no tile fills are multiplied, too */
    struct tile next = {0, 0, 0};
    while (next.image < job->images) {
        struct tile tile[TILES];
        int number = 0;
        for (; number < TILES && next.image < job->images; number++) {
            const float *pixel[MOST * MOST];
            tile[number] = next;
            find(job, next, outside, pixel, n);
            scatter(pixel, tiles, job->inputs, in, number, n);
            if (++next.column == across) {
                next.column = 0;
                if (++next.row == down) {
                    next.row = 0;
                    next.image++;
                }
            }
        }
        for (int p = 0; p < n * n; p++) {
            const float *place[TILES];
            for (int t = 0; t < TILES; t++)
                place[t] = tiles + ((ptrdiff_t)p * TILES + t) * in;
            multiply(place, number, NULL, job->filters + (ptrdiff_t)p * job->inputs * out, job->inputs, outputs,
                     products + (ptrdiff_t)p * TILES * out, out);
        }
        for (int t = 0; t < number; t++) {
            int top = tile[t].row * step, left = tile[t].column * step;
            ptrdiff_t at = ((ptrdiff_t)(tile[t].image * job->rows + top) * job->columns + left) * outputs;
            struct image to = job->to;
            to.y += at;
            to.other = to.other ? to.other + at : NULL;
            gather(products, out, to, job->bias, least(job->rows - top, step), least(job->columns - left, step), t, n);
        }
    }
}

int64_t certflow_scratch(int height, int width, int inputs, int outputs, int kernel, int pad)
{
    (void)height, (void)width, (void)pad;
    int n = SIDE + kernel - 1;
    return (int64_t)n * n * TILES * (whole(inputs, LANES) + whole(outputs, COLUMNS)) + inputs;
}

/* filters: transformed, [points, panels of `multiply`]. kernel: 3 or 5; stride: 1. */
void certflow_convolve(const float *x, const float *filters, const float *bias, const float *other, float *y, float *scratch,
                       int64_t images, int height, int width, int inputs, int outputs, int kernel, int stride, int pad, int relu,
                       int pool)
{
    (void)stride;
    int half = pool ? 2 : 1, rows = (height + 2 * pad - kernel + 1) / half, columns = (width + 2 * pad - kernel + 1) / half;
    struct image to = {y, other, (ptrdiff_t)columns * outputs, outputs, relu, pool};
    struct job job = {x, filters, bias, scratch, to, images, height, width, inputs, rows, columns, pad};
    if (kernel == 3)
        convolve(&job, 6);
    else
        convolve(&job, 8);
}
