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

/* Half of what a tile's products are transformed back to, then the rest: `height` x `width` of its outputs from channel `k` on; where
   `pool` is, each the largest of 2x2. */
static inline __attribute__((always_inline)) void finish(const vec half[SIDE][MOST], struct image to, const float *bias, int k,
                                                         int height, int width, int n)
{
    vec constant = load(bias + k);
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

/* A tile's products, of place `tile`, into its outputs. */
static inline __attribute__((always_inline)) void gather(const float *from, int stride, struct image to, const float *bias, int height,
                                                         int width, int tile, int n)
{
    for (int k = 0; k < to.channels; k += LANES) {
        vec half[SIDE][MOST];
        for (int j = 0; j < n; j++) {
            vec column[MOST], out[SIDE];
            for (int i = 0; i < n; i++)
                column[i] = load(from + ((ptrdiff_t)(n * i + j) * TILES + tile) * stride + k);
            transform_output(column, out, n);
            for (int i = 0; i < SIDE; i++)
                half[i][j] = out[i];
        }
        finish(half, to, bias, k, height, width, n);
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
            multiply(place, number, job->filters + (ptrdiff_t)p * job->inputs * out, job->inputs, outputs,
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

/* Few input channels: the transform of the input goes along a row of tiles instead of along channels, and products stay in registers
   until they are transformed back. */

#define FEW 3

/* What is worked in for few channels: tiles across, in whole vectors, and rows of pixels that the tiles see. */
static inline int wide_of(int width) { return whole((width + SIDE - 1) / SIDE, LANES); }
static inline int tall_of(int height, int n) { return whole(height, SIDE) + n - SIDE; }

/* One image into [inputs, tall, SIDE, wide + 1], where its padding is already: a row's pixels by their place modulo SIDE, so that the
   first, second ... pixels of all tiles lie beside each other. */
static void spread(const struct job *job, const float *x, float *to, int tall, int wide, int inputs)
{
    int high = least(job->height, tall - job->pad), broad = least(job->width, SIDE * (wide + 1) - job->pad);
    for (int c = 0; c < inputs; c++)
        for (int row = 0; row < high; row++) {
            const float *from = x + (ptrdiff_t)row * job->width * inputs + c;
            float *line = to + ((ptrdiff_t)c * tall + row + job->pad) * SIDE * (wide + 1);
            for (int along = 0; along < SIDE; along++) {
                int first = (along - job->pad % SIDE + SIDE) % SIDE;
                float *phase = line + along * (wide + 1) + (first + job->pad) / SIDE;
                for (int column = first; column < broad; column += SIDE)
                    *phase++ = from[(ptrdiff_t)column * inputs];
            }
        }
}

/* Rows of pixels, transformed along the row: [rows, n, wide]. */
static inline __attribute__((always_inline)) void transform_rows(const float *pixels, float *to, int rows, int wide, int n)
{
    for (int row = 0; row < rows; row++, pixels += SIDE * (wide + 1), to += n * wide)
        for (int t = 0; t < wide; t += LANES) {
            vec d[MOST], out[MOST];
            for (int j = 0; j < n; j++)
                d[j] = load(pixels + j % SIDE * (wide + 1) + t + j / SIDE);
            transform_input(d, out, n);
            for (int j = 0; j < n; j++)
                store(to + j * wide + t, out[j]);
        }
}

/* n such rows, transformed down, by LANES tiles: [wide / LANES, n, n, LANES]. */
static inline __attribute__((always_inline)) void transform_columns(const float *lines, float *to, int wide, int n)
{
    for (int t = 0; t < wide; t += LANES)
        for (int j = 0; j < n; j++) {
            vec d[MOST], out[MOST];
            for (int i = 0; i < n; i++)
                d[i] = load(lines + (n * i + j) * wide + t);
            transform_input(d, out, n);
            for (int i = 0; i < n; i++)
                store(to + n * n * t + (n * i + j) * LANES, out[i]);
        }
}

/* The outputs of one tile. points: what became of its pixels, of which each channel's lie `apart`. */
static inline __attribute__((always_inline)) void produce(const struct job *job, const float *points, ptrdiff_t apart, struct image to,
                                                          int height, int width, int inputs, int n)
{
    for (int k = 0; k < to.channels; k += LANES) {
        const float *filters = job->filters + (ptrdiff_t)(k / COLUMNS) * n * n * inputs * COLUMNS + k % COLUMNS;
        vec half[SIDE][MOST];
        for (int j = 0; j < n; j++) {
            vec column[MOST], back[SIDE];
            for (int i = 0; i < n; i++) {
                int p = n * i + j;
                column[i] = points[p * LANES] * load(filters + p * inputs * COLUMNS);
                for (int c = 1; c < inputs; c++)
                    column[i] += points[c * apart + p * LANES] * load(filters + (p * inputs + c) * COLUMNS);
            }
            transform_output(column, back, n);
            for (int i = 0; i < SIDE; i++)
                half[i][j] = back[i];
        }
        finish(half, to, job->bias, k, height, width, n);
    }
}

static inline __attribute__((always_inline)) void convolve_few(const struct job *job, int inputs, int n)
{
    int step = job->to.pool ? SIDE / 2 : SIDE, unpooled = SIDE / step;
    int wide = wide_of(job->columns * unpooled), tall = tall_of(job->rows * unpooled, n);
    float *pixels = job->scratch, *lines = pixels + (ptrdiff_t)inputs * tall * SIDE * (wide + 1);
    float *points = lines + (ptrdiff_t)inputs * tall * n * wide;
    memset(pixels, 0, sizeof(float) * (lines - pixels));
    for (int64_t image = 0; image < job->images; image++) {
        spread(job, job->x + image * job->height * job->width * inputs, pixels, tall, wide, inputs);
        transform_rows(pixels, lines, inputs * tall, wide, n);
        for (int top = 0, row = 0; top < job->rows; top += step, row += SIDE) {
            for (int c = 0; c < inputs; c++)
                transform_columns(lines + ((ptrdiff_t)c * tall + row) * n * wide, points + (ptrdiff_t)c * n * n * wide, wide, n);
            for (int left = 0, t = 0; left < job->columns; left += step, t++) {
                ptrdiff_t at = ((image * job->rows + top) * job->columns + left) * job->to.channels;
                struct image to = job->to;
                to.y += at;
                to.other = to.other ? to.other + at : NULL;
                produce(job, points + t / LANES * LANES * n * n + t % LANES, (ptrdiff_t)n * n * wide, to, least(job->rows - top, step),
                        least(job->columns - left, step), inputs, n);
            }
        }
    }
}

/* How many numbers `certflow_convolve` needs to work in. */
int64_t certflow_scratch(int height, int width, int inputs, int outputs, int kernel, int pad)
{
    int n = SIDE + kernel - 1;
    if (inputs > FEW)
        return (int64_t)n * n * TILES * (whole(inputs, LANES) + whole(outputs, COLUMNS)) + inputs;
    int wide = wide_of(width + 2 * pad - kernel + 1), tall = tall_of(height + 2 * pad - kernel + 1, n);
    return (int64_t)inputs * (tall * (SIDE * (wide + 1) + n * wide) + n * n * wide);
}

/* y = x * filters + bias (+ other) (, then ReLU) (, then the largest of each 2x2) on `images` images.  x [images, height, width,
   inputs]; y and other, or NULL, [images, height + 2 pad - kernel + 1, ..., outputs], y half as high and wide where `pool` is, and then
   there is no `other`. filters: transformed, in panels [points, panels, inputs, COLUMNS], for few channels [panels, points, inputs,
   COLUMNS]; like bias with zeros up to a multiple of COLUMNS outputs. scratch: `certflow_scratch` numbers to work in. kernel: 3 or 5. */
void certflow_convolve(const float *x, const float *filters, const float *bias, const float *other, float *y, float *scratch,
                       int64_t images, int height, int width, int inputs, int outputs, int kernel, int pad, int relu, int pool)
{
    int half = pool ? 2 : 1, rows = (height + 2 * pad - kernel + 1) / half, columns = (width + 2 * pad - kernel + 1) / half;
    struct image to = {y, other, (ptrdiff_t)columns * outputs, outputs, relu, pool};
    struct job job = {x, filters, bias, scratch, to, images, height, width, inputs, rows, columns, pad};
    if (inputs > FEW)
        kernel == 3 ? convolve(&job, 6) : convolve(&job, 8);
    else if (inputs == 1) /* a constant, as is the number of points: grey images are what few channels are mostly */
        kernel == 3 ? convolve_few(&job, 1, 6) : convolve_few(&job, 1, 8);
    else
        kernel == 3 ? convolve_few(&job, inputs, 6) : convolve_few(&job, inputs, 8);
}
