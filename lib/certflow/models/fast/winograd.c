/* Convolutions by Winograd's algorithm (Lavin and Gray 2016): F(4x4, 3x3) takes 36 products for 16 outputs instead of 144,
   F(4x4, 5x5) 64 instead of 400. From many channels to few they are plain sums (`convolve_to_few`).

   An image is cut into tiles of 4x4 outputs, which see 6x6 or 8x8 inputs. Inputs and filters are transformed, multiplied and summed
   over channels as 36 or 64 small matrix products, and transformed back. The points of the transforms are 0, 1, -1, 2, -2, for 5x5 also
   1/2 and -1/2, and infinity. Every output is summed in the same order whichever tiles lie beside its own. Images are [rows, height,
   width, channels].

   The gradient by the filters takes as few products: with y = A'[(G w G') (B' x B)]A for a tile, B' x B being its transformed inputs,
   it is G'[sum over tiles of (B' x B) (A dy A')]G.  */

#include "products.h"

#define APART(stride) ((ptrdiff_t)TILES * (stride) + COLUMNS) /* from a point's [TILES, stride] to the next one's: an odd number of
   cache lines, so that a tile's points do not drive each other out */
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

/* The transpose of `transform_output`. */
static inline __attribute__((always_inline)) void transform_gradient(const vec y[MOST], vec out[MOST], int n)
{
    vec even = y[0] + y[2], odd = y[1] + y[3], a = y[0] + 4.f * y[2], b = 2.f * y[1] + 8.f * y[3];
    out[0] = y[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = a + b;
    out[4] = a - b;
    out[n - 1] = y[3];
    if (n == 8) {
        vec c = y[0] + .25f * y[2], e = .5f * y[1] + .125f * y[3];
        out[5] = c + e;
        out[6] = c - e;
    }
}

/* A line of a tile at the points: of n inputs where `side` is n, of the gradient of SIDE outputs otherwise. */
static inline __attribute__((always_inline)) void transform(const vec line[MOST], vec out[MOST], int side, int n)
{
    side == n ? transform_input(line, out, n) : transform_gradient(line, out, n);
}

/* The side x side pixels of a tile, all channels, into place `tile` of each of n x n points' [TILES, stride]. */
static inline __attribute__((always_inline)) void scatter(const float *const *pixel, float *restrict to, int channels, int stride,
                                                          int tile, int side, int n)
{
    for (int c = 0; c < channels; c += LANES) {
        vec half[MOST][MOST];
        for (int j = 0; j < side; j++) {
            vec column[MOST], out[MOST];
            for (int i = 0; i < side; i++)
                column[i] = load_some(pixel[side * i + j] + c, channels - c);
            transform(column, out, side, n);
            for (int i = 0; i < n; i++)
                half[i][j] = out[i];
        }
        for (int i = 0; i < n; i++) {
            vec out[MOST];
            transform(half[i], out, side, n);
            for (int j = 0; j < n; j++)
                store(to + (n * i + j) * APART(stride) + tile * stride + c, out[j]);
        }
    }
}

/* The image that outputs are written to: its first number, what is added to it or NULL, where the choices of pooling are noted or NULL,
   and how far its lines are apart. */
struct image {
    float *y;
    const float *other;
    int32_t *chosen;
    ptrdiff_t line;
    int channels, relu, pool;
};

static inline __attribute__((always_inline)) void write(struct image to, ptrdiff_t at, int lanes, vec value)
{
    if (to.other)
        value += load_some(to.other + at, lanes);
    store_some(to.y + at, to.relu ? relu_of(value) : value, lanes);
}

/* Which of four values, a and b above c and d, is the largest: 0 to 3, the first of equals, and any if one is NaN. */
static inline bits which_of(vec a, vec b, vec c, vec d)
{
    bits above = (bits)(b > a) & 1, below = ((bits)(d > c) & 1) | 2, lower = (bits)(larger(c, d) > larger(a, b));
    return (below & lower) | (above & ~lower);
}

/* Which outputs `values` are, before ReLU; CELL where that gives 0. */
static inline __attribute__((always_inline)) void note(struct image to, ptrdiff_t at, int lanes, bits which, vec values)
{
    bits zero = (bits)(values <= 0);
    store_some((float *)(to.chosen + at), (vec)((which & ~zero) | (CELL & zero)), lanes);
}

/* The image from number `at` on. */
static inline struct image image_from(struct image to, ptrdiff_t at)
{
    to.y += at;
    to.other = to.other ? to.other + at : NULL;
    to.chosen = to.chosen ? to.chosen + at : NULL;
    return to;
}

/* Half of what a tile's products are transformed back to, then the rest: `height` x `width` of its outputs, `lanes` channels from
   channel `k` on; where `pool` is, each the largest of 2x2. */
static inline __attribute__((always_inline)) void finish_some(const vec half[SIDE][MOST], struct image to, const float *bias, int k,
                                                              int height, int width, int lanes, int n)
{
    vec constant = load(bias + k);
    for (int i = 0; i < height; i++) {
        vec out[SIDE], below[SIDE];
        bits which[SIDE / 2];
        transform_output(half[to.pool ? 2 * i : i], out, n);
        if (to.pool) {
            transform_output(half[2 * i + 1], below, n);
            for (int j = 0; j < SIDE / 2; j++) {
                if (to.chosen)
                    which[j] = which_of(out[2 * j], out[2 * j + 1], below[2 * j], below[2 * j + 1]);
                out[j] = larger(larger(out[2 * j], out[2 * j + 1]), larger(below[2 * j], below[2 * j + 1]));
            }
        }
        for (int j = 0; j < width; j++) {
            ptrdiff_t at = i * to.line + (ptrdiff_t)j * to.channels + k;
            if (to.chosen)
                note(to, at, lanes, which[j], out[j] + constant);
            write(to, at, lanes, out[j] + constant);
        }
    }
}

/* The same for a whole tile and a whole vector. */
static inline __attribute__((always_inline)) void finish_whole(const vec half[SIDE][MOST], struct image to, const float *bias, int k, int n)
{
    if (to.pool) {
        to.other = NULL;
        finish_some(half, to, bias, k, SIDE / 2, SIDE / 2, LANES, n);
    } else {
        to.chosen = NULL;
        finish_some(half, to, bias, k, SIDE, SIDE, LANES, n);
    }
}

/* Most tiles are whole: nothing in their loops is left to be decided. Apart, since each caller would have a copy otherwise. */
static __attribute__((noinline)) void finish_6(const vec half[SIDE][MOST], const struct image *to, const float *bias, int k)
{
    finish_whole(half, *to, bias, k, 6);
}

static __attribute__((noinline)) void finish_8(const vec half[SIDE][MOST], const struct image *to, const float *bias, int k)
{
    finish_whole(half, *to, bias, k, 8);
}

static inline __attribute__((always_inline)) void finish(const vec half[SIDE][MOST], struct image to, const float *bias, int k,
                                                         int height, int width, int n)
{
    int step = to.pool ? SIDE / 2 : SIDE, lanes = to.channels - k;
    if (height < step || width < step || lanes < LANES)
        finish_some(half, to, bias, k, height, width, lanes, n);
    else
        n == 6 ? finish_6(half, &to, bias, k) : finish_8(half, &to, bias, k);
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
                column[i] = load(from + (n * i + j) * APART(stride) + tile * stride + k);
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

/* The tile behind this one among those of images that are `down` x `across` tiles large. */
static inline struct tile after(struct tile tile, int down, int across)
{
    if (++tile.column == across) {
        tile.column = 0;
        if (++tile.row == down) {
            tile.row = 0;
            tile.image++;
        }
    }
    return tile;
}

/* Pointers to the side x side pixels under a tile; to `outside` where there is no image. */
static inline __attribute__((always_inline)) void find(const float *images, int height, int width, int channels, int pad,
                                                       struct tile tile, const float *outside, const float *pixel[MOST * MOST],
                                                       int side)
{
    int top = tile.row * SIDE - pad, left = tile.column * SIDE - pad;
    int inner = top >= 0 && left >= 0 && top + side <= height && left + side <= width;
    ptrdiff_t line = (ptrdiff_t)width * channels;
    const float *first = images + (tile.image * height + top) * line + (ptrdiff_t)left * channels;
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++) {
            int inside = inner || (top + i >= 0 && top + i < height && left + j >= 0 && left + j < width);
            pixel[side * i + j] = inside ? first + i * line + (ptrdiff_t)j * channels : outside;
        }
}

static inline __attribute__((always_inline)) void convolve(const struct job *job, int n)
{
    int outputs = job->to.channels, in = whole(job->inputs, LANES), out = whole(outputs, COLUMNS);
    int step = job->to.pool ? SIDE / 2 : SIDE; /* of y */
    int down = (job->rows + step - 1) / step, across = (job->columns + step - 1) / step;
    float *tiles = job->scratch, *products = tiles + n * n * APART(in);
    float *outside = products + n * n * APART(out);
    memset(outside, 0, sizeof(float) * job->inputs);
    memset(tiles, 0, sizeof(float) * n * n * APART(in)); /* places that no tile fills are multiplied, too */
    struct tile next = {0, 0, 0};
    while (next.image < job->images) {
        struct tile tile[TILES];
        int number = 0;
        for (; number < TILES && next.image < job->images; number++) {
            const float *pixel[MOST * MOST];
            tile[number] = next;
            find(job->x, job->height, job->width, job->inputs, job->pad, next, outside, pixel, n);
            scatter(pixel, tiles, job->inputs, in, number, n, n);
            next = after(next, down, across);
        }
        for (int p = 0; p < n * n; p++) {
            const float *place[TILES];
            for (int t = 0; t < TILES; t++)
                place[t] = tiles + p * APART(in) + t * in;
            multiply(place, number, job->filters + (ptrdiff_t)p * job->inputs * out, job->inputs, outputs,
                     products + p * APART(out), out);
        }
        for (int t = 0; t < number; t++) {
            int top = tile[t].row * step, left = tile[t].column * step;
            ptrdiff_t at = ((ptrdiff_t)(tile[t].image * job->rows + top) * job->columns + left) * outputs;
            gather(products, out, image_from(job->to, at), job->bias, least(job->rows - top, step), least(job->columns - left, step), t,
                   n);
        }
    }
}

/* Few input channels: the transform of the input goes along a row of tiles instead of along channels, and products stay in registers
   until they are transformed back. */

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
                produce(job, points + t / LANES * LANES * n * n + t % LANES, (ptrdiff_t)n * n * wide, image_from(job->to, at),
                        least(job->rows - top, step), least(job->columns - left, step), inputs, n);
            }
        }
    }
}

/* Few output channels: no transforms. A pixel's products with all filters are a patch of kernel x kernel outputs, added to those of the
   pixels before it; a patch's line is `broad` numbers, of which those of `kernel` pixels count. */

/* Numbers of a line of a patch, in whole vectors. */
static inline int broad_of(int kernel, int outputs) { return whole(kernel * outputs, LANES); }
int certflow_patch(int kernel, int outputs) { return broad_of(kernel, outputs); }

/* How far lines of the sums are apart: a patch at the end of one may reach beyond it. */
static inline int apart_of(int width, int kernel, int outputs) { return (width - 1) * outputs + broad_of(kernel, outputs); }

/* Add the patches of `number` pixels from `first` on of an image to its sums. */
static inline __attribute__((always_inline)) void add_patches(const struct job *job, const float *patches, float *sums, int first,
                                                              int number, int stride, int kernel)
{
    int outputs = job->to.channels, broad = broad_of(kernel, outputs), apart = apart_of(job->width, kernel, outputs);
    bits all = first_lanes(LANES), last = first_lanes(kernel * outputs - (broad - LANES)); /* infinity times 0 must not be added */
    for (int t = 0; t < number; t++) {
        float *to = sums + (ptrdiff_t)((first + t) / job->width) * apart + (first + t) % job->width * outputs;
        for (int i = 0; i < kernel; i++)
            for (int b = 0; b < broad; b += LANES) {
                bits patch = (bits)load(patches + (ptrdiff_t)t * stride + i * broad + b) & (b + LANES < broad ? all : last);
                store(to + i * apart + b, load(to + i * apart + b) + (vec)patch);
            }
    }
}

/* The outputs of an image from its sums, which begin at the first output that a pixel reaches. */
static void cut(const struct job *job, const float *sums, struct image to, int kernel)
{
    int outputs = to.channels, apart = apart_of(job->width, kernel, outputs), outside = kernel - 1 - job->pad;
    for (int row = 0; row < job->rows; row++)
        for (int at = 0; at < job->columns * outputs; at++) {
            float value = sums[(ptrdiff_t)(row + outside) * apart + outside * outputs + at] + job->bias[at % outputs];
            value += to.other ? to.other[row * to.line + at] : 0;
            to.y[row * to.line + at] = to.relu && value < 0 ? 0 : value; /* NaN stays NaN */
        }
}

static inline __attribute__((always_inline)) void convolve_to_few(const struct job *job, int kernel)
{
    int outputs = job->to.channels, columns = kernel * broad_of(kernel, outputs), stride = whole(columns, COLUMNS);
    int pixels = job->height * job->width, lines = job->height + kernel - 1;
    ptrdiff_t all = (ptrdiff_t)lines * apart_of(job->width, kernel, outputs);
    float *patches = job->scratch, *sums = patches + (ptrdiff_t)TILES * stride;
    for (int64_t image = 0; image < job->images; image++) {
        const float *x = job->x + image * pixels * job->inputs;
        ptrdiff_t at = image * job->rows * job->to.line;
        memset(sums, 0, sizeof(float) * all);
        for (int first = 0; first < pixels; first += TILES) {
            const float *place[TILES];
            int number = least(TILES, pixels - first);
            for (int t = 0; t < TILES; t++) /* the last pixel again where there are no more */
                place[t] = x + (ptrdiff_t)(first + least(t, number - 1)) * job->inputs;
            multiply(place, number, job->filters, job->inputs, columns, patches, stride);
            add_patches(job, patches, sums, first, number, stride, kernel);
        }
        cut(job, sums, image_from(job->to, at), kernel);
    }
}

/* How many numbers `certflow_convolve` needs to work in. */
int64_t certflow_scratch(int height, int width, int inputs, int outputs, int kernel, int pad)
{
    int n = SIDE + kernel - 1;
    if (inputs > FEW && outputs <= FEW)
        return (int64_t)TILES * whole(kernel * broad_of(kernel, outputs), COLUMNS) +
               (int64_t)(height + kernel - 1) * apart_of(width, kernel, outputs);
    if (inputs > FEW)
        return n * n * (APART(whole(inputs, LANES)) + APART(whole(outputs, COLUMNS))) + inputs;
    int wide = wide_of(width + 2 * pad - kernel + 1), tall = tall_of(height + 2 * pad - kernel + 1, n);
    return (int64_t)inputs * (tall * (SIDE * (wide + 1) + n * wide) + n * n * wide);
}

/* y = x * filters + bias (+ other) (, then ReLU) (, then the largest of each 2x2) on `images` images.  x [images, height, width,
   inputs]; y and other, or NULL, [images, height + 2 pad - kernel + 1, ..., outputs], y half as high and wide where `pool` is, and then
   there is no `other`. chosen: NULL, or where `relu` and `pool` are, of y's shape: which output of four each number is, 0 to 3 row by row,
   or 4 where ReLU gives 0. filters: transformed, in panels [points, panels, inputs, COLUMNS], for few channels [panels, points, inputs,
   COLUMNS]; like bias with zeros up to a multiple of COLUMNS outputs. From many channels to few: patches, their lines `certflow_patch`
   numbers long, in panels [panels, inputs, COLUMNS], and no pooling. scratch: `certflow_scratch` numbers to work in. kernel: 3 or 5. */
void certflow_convolve(const float *x, const float *filters, const float *bias, const float *other, float *y, int32_t *chosen,
                       float *scratch, int64_t images, int height, int width, int inputs, int outputs, int kernel, int pad, int relu,
                       int pool)
{
    int half = pool ? 2 : 1, rows = (height + 2 * pad - kernel + 1) / half, columns = (width + 2 * pad - kernel + 1) / half;
    struct image to = {y, other, chosen, (ptrdiff_t)columns * outputs, outputs, relu, pool};
    struct job job = {x, filters, bias, scratch, to, images, height, width, inputs, rows, columns, pad};
    if (inputs > FEW && outputs <= FEW)
        kernel == 3 ? convolve_to_few(&job, 3) : convolve_to_few(&job, 5);
    else if (inputs > FEW)
        kernel == 3 ? convolve(&job, 6) : convolve(&job, 8);
    else if (inputs == 1) /* a constant, as is the number of points: grey images are what few channels are mostly */
        kernel == 3 ? convolve_few(&job, 1, 6) : convolve_few(&job, 1, 8);
    else
        kernel == 3 ? convolve_few(&job, inputs, 6) : convolve_few(&job, inputs, 8);
}

static inline __attribute__((always_inline)) void correlate(const struct job *job, const float *dy, int outputs, float *sums, int n)
{
    int in = whole(job->inputs, LANES), out = whole(outputs, COLUMNS), rows = whole(job->inputs, TERMS);
    int down = (job->rows + SIDE - 1) / SIDE, across = (job->columns + SIDE - 1) / SIDE;
    float *inputs = job->scratch, *gradients = inputs + n * n * APART(in);
    float *outside = gradients + n * n * APART(out);
    memset(outside, 0, sizeof(float) * (in + out)); /* as many as a pixel of either has */
    memset(sums, 0, sizeof(float) * n * n * rows * out);
    struct tile next = {0, 0, 0};
    while (next.image < job->images) {
        int number = 0;
        for (; number < TILES && next.image < job->images; number++, next = after(next, down, across)) {
            const float *pixel[MOST * MOST];
            find(job->x, job->height, job->width, job->inputs, job->pad, next, outside, pixel, n);
            scatter(pixel, inputs, job->inputs, in, number, n, n);
            find(dy, job->rows, job->columns, outputs, 0, next, outside, pixel, SIDE);
            scatter(pixel, gradients, outputs, out, number, SIDE, n);
        }
        for (int p = 0; p < n * n; p++)
            accumulate(inputs + p * APART(in), in, gradients + p * APART(out), out, number, rows, outputs,
                       sums + (ptrdiff_t)p * rows * out);
    }
}

/* The sum over tiles of products of transformed inputs and gradients, from which G makes the gradient by the filters.
   x [images, height, width, inputs]; dy [images, height + 2 pad - kernel + 1, ..., outputs]; sums [points, inputs up to a multiple of
   TERMS, outputs up to a multiple of COLUMNS], the rest zeros. scratch: `certflow_correlation_scratch` numbers. kernel: 3 or 5. */
void certflow_correlate(const float *x, const float *dy, float *sums, float *scratch, int64_t images, int height, int width, int inputs,
                        int outputs, int kernel, int pad)
{
    struct image none = {0};
    int rows = height + 2 * pad - kernel + 1, columns = width + 2 * pad - kernel + 1;
    struct job job = {x, NULL, NULL, scratch, none, images, height, width, inputs, rows, columns, pad};
    kernel == 3 ? correlate(&job, dy, outputs, sums, 6) : correlate(&job, dy, outputs, sums, 8);
}

/* How many numbers `certflow_correlate` needs to work in. */
int64_t certflow_correlation_scratch(int inputs, int outputs, int kernel)
{
    int n = SIDE + kernel - 1, in = whole(inputs, LANES), out = whole(outputs, COLUMNS);
    return n * n * (APART(in) + APART(out)) + in + out;
}
