/* Gradients of a convolution of whose outputs only ReLU of the largest of each 2x2, a cell, is used.

   One output of a cell has a gradient, and none where ReLU gives 0. Plain sums over those that have one take a quarter of the products of
   the whole sum or less: fewer than Winograd's algorithm, and the gradient of all outputs is never written.

   A cell's outputs see kernel + 1 rows and columns of inputs, its window. Output (a, b) of it, which is number 2a + b, sees `kernel` rows
   of the window from row a on, and columns from b on, its place. Products with zeros around or behind a filter are 0, or NaN where a
   gradient is infinite: then pixels of the same image beside the place are, too. Images are [rows, height, width, channels]; gradients and
   the numbers of chosen outputs [rows, cells down, cells across, outputs]. */

#define LANES 8 /* of wider vectors rows of few channels fill less, and every load that is not aligned reaches beyond a cache line */
#include "vectors.h"

#define IMAGES 4 /* that are gone through for each part of the filters, which stays in the cache */
#define PIXELS 8192 /* numbers of the images that are gone through for each filter: they stay in the cache */
#define WIDE 15 /* vectors that are summed at a time: with what they are multiplied by, the 16 registers of AVX2 */
#define SHORT 8 /* vectors of a row that are not too many for its zeros to be summed, too; fewer wait for each other's sums */
#define BEHIND (WIDE * LANES) /* numbers between images: the last vectors of a row may reach beyond it */

/* A gradient, and where the numbers begin that it is multiplied by: see MOST in pooled.py, which holds for all places of 32 bits. */
struct term {
    float gradient;
    int32_t at;
};

/* to[r, p] += sum over terms of gradient * from[at + r, p], for `rows` rows and `parts` vectors. */
static inline __attribute__((always_inline)) void add(const struct term *term, int number, const float *from, ptrdiff_t apart, float *to,
                                                      ptrdiff_t line, int rows, int parts)
{
    vec sum[WIDE];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int p = 0; p < parts; p++)
            sum[r * parts + p] = load(to + r * line + p * LANES);
    for (int t = 0; t < number; t++) {
        const float *row = from + term[t].at;
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
            for (int p = 0; p < parts; p++)
                sum[r * parts + p] += term[t].gradient * load(row + r * apart + p * LANES);
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int p = 0; p < parts; p++)
            store(to + r * line + p * LANES, sum[r * parts + p]);
}

/* How rows of `numbers` numbers are summed: so many vectors of so many rows at a time. All sums stay in registers. */
struct cut {
    int rows, parts, summed; /* summed: numbers of a row, in whole vectors */
};

static inline struct cut cut_of(int rows, int numbers)
{
    int vectors = (numbers + LANES - 1) / LANES;
    if (vectors <= 2)
        return (struct cut){rows, vectors, vectors * LANES};
    int times = (vectors + WIDE - 1) / WIDE, parts = (vectors + times - 1) / times;
    return (struct cut){1, parts, times * parts * LANES};
}

/* `add` for a cut's rows and parts. 3x3 and 5x5 filters have 3 and 5 rows, and windows 4 and 6. */
static void add_cut(const struct term *term, int number, const float *from, ptrdiff_t apart, float *to, ptrdiff_t line, struct cut cut)
{
#define CASE(R, P) \
    case 16 * R + P: \
        add(term, number, from, apart, to, line, R, P); \
        break;
    switch (16 * cut.rows + cut.parts) {
        CASE(3, 1) CASE(4, 1) CASE(5, 1) CASE(6, 1) CASE(3, 2) CASE(4, 2) CASE(5, 2) CASE(6, 2)
        CASE(1, 3) CASE(1, 4) CASE(1, 5) CASE(1, 6) CASE(1, 7) CASE(1, 8) CASE(1, 9) CASE(1, 10) CASE(1, 11) CASE(1, 12) CASE(1, 13)
        CASE(1, 14) CASE(1, 15)
    default:
        __builtin_trap();
    }
}

/* Images with their padding, and the cells of their outputs. pixel, line, image: from a pixel, row, image to the next. */
struct job {
    int height, width, inputs, outputs, kernel, pad, down, across, cells;
    ptrdiff_t pixel, line, image;
};

static struct job job_of(int height, int width, int inputs, int outputs, int kernel, int pad, int pixel)
{
    int down = (height + 2 * pad - kernel + 1) / 2, across = (width + 2 * pad - kernel + 1) / 2;
    ptrdiff_t line = (ptrdiff_t)(width + 2 * pad) * pixel, image = (height + 2 * pad) * line + BEHIND;
    return (struct job){height, width, inputs, outputs, kernel, pad, down, across, down * across, pixel, line, image};
}

/* Where a cell's window begins in an image with its padding. */
static inline ptrdiff_t window(const struct job *job, int cell)
{
    return 2 * (cell / job->across) * job->line + 2 * (cell % job->across) * job->pixel;
}

/* A row of an image without its padding. */
static inline float *inside(const struct job *job, float *padded, int row)
{
    return padded + (row + job->pad) * job->line + job->pad * job->pixel;
}

/* Pixels of zeros around each filter that the gradient by the images is made from. 1: rows are so short that whole windows are summed,
   and a filter is read from where it begins in the window, zeros included. 0: the places of a cell are summed one by one. */
int certflow_pooled_around(int inputs, int kernel) { return (kernel + 1) * inputs <= SHORT * LANES; }

/* Numbers from a filter's row to that of the next filter, with the zeros before and behind. */
int certflow_pooled_line(int inputs, int kernel)
{
    int around = certflow_pooled_around(inputs, kernel), rows = kernel + around;
    return whole(around * inputs + cut_of(rows, rows * inputs).summed, LANES);
}

/* The terms of each cell's window in some images; how many they are. apart: from a row of filters to the next. */
static void list_windows(const struct job *job, const float *dy, const int32_t *chosen, int cells, ptrdiff_t apart, struct term *term,
                         int *count)
{
    int line = certflow_pooled_line(job->inputs, job->kernel), inputs = job->inputs;
    /* Where b = 1 one pixel earlier, at the zeros before each row; where a = 1 one row earlier, at the row of zeros. */
    int32_t begin[CELL + 1] = {apart + inputs, apart, inputs, 0, 0};
    for (int cell = 0; cell < cells; cell++, dy += job->outputs, chosen += job->outputs, term += job->outputs) {
        int number = 0;
        for (int o = 0; o < job->outputs; o++) {
            term[number] = (struct term){dy[o], o * line + begin[chosen[o]]};
            number += chosen[o] != CELL;
        }
        count[cell] = number;
    }
}

/* The terms of each place of each cell in some images; how many they are. Outputs that are not chosen are written behind the last. */
static void list_places(const struct job *job, const float *dy, const int32_t *chosen, int cells, struct term *term, int *count)
{
    int line = certflow_pooled_line(job->inputs, job->kernel), outputs = job->outputs;
    struct term *unseen = term + (ptrdiff_t)cells * CELL * outputs;
    for (int cell = 0; cell < cells; cell++, dy += outputs, chosen += outputs, term += CELL * outputs, count += CELL) {
        struct term *end[CELL + 1] = {term, term + outputs, term + 2 * outputs, term + 3 * outputs, unseen};
        for (int o = 0; o < outputs; o++)
            *end[chosen[o]]++ = (struct term){dy[o], o * line};
        for (int place = 0; place < CELL; place++)
            count[place] = end[place] - (term + place * outputs);
    }
}

/* The gradient by the images.  filters [rows, outputs, certflow_pooled_line]: each filter's rows of kernel x inputs numbers, with so many
   rows and pixels of zeros before and behind as `certflow_pooled_around` says.  dx [images, height, width, inputs].  scratch:
   `certflow_pooled_scratch` numbers. */
void certflow_pooled_images(const float *dy, const int32_t *chosen, const float *filters, float *dx, float *scratch, int64_t images,
                            int height, int width, int inputs, int outputs, int kernel, int pad)
{
    struct job job = job_of(height, width, inputs, outputs, kernel, pad, inputs);
    int around = certflow_pooled_around(inputs, kernel), rows = kernel + around, places = around ? 1 : CELL;
    struct cut cut = cut_of(rows, rows * inputs);
    ptrdiff_t apart = (ptrdiff_t)outputs * certflow_pooled_line(inputs, kernel);
    float *sums = scratch;
    int32_t *at = (int32_t *)(sums + IMAGES * job.image); /* where each cell's window begins */
    int *count = at + IMAGES * job.cells;
    struct term *term = (struct term *)(count + IMAGES * CELL * job.cells);
    for (int cell = 0; cell < IMAGES * job.cells; cell++)
        at[cell] = cell / job.cells * job.image + window(&job, cell % job.cells);
    for (int64_t first = 0; first < images; first += IMAGES) {
        int number = images - first < IMAGES ? images - first : IMAGES, cells = number * job.cells;
        memset(sums, 0, sizeof(float) * IMAGES * job.image);
        if (around)
            list_windows(&job, dy, chosen, cells, apart, term, count);
        else
            list_places(&job, dy, chosen, cells, term, count);
        for (int row = 0; row < rows; row += cut.rows)
            for (int k = 0; k < cut.summed; k += cut.parts * LANES)
                for (int cell = 0, list = 0; cell < cells; cell++) {
                    float *to = sums + at[cell] + row * job.line + k;
                    for (int place = 0; place < places; place++, list++)
                        add_cut(term + (ptrdiff_t)list * outputs, count[list], filters + row * apart + k, apart,
                                to + place / 2 * job.line + place % 2 * inputs, job.line, cut);
                }
        for (int image = 0; image < number; image++)
            for (int row = 0; row < height; row++, dx += width * inputs)
                memcpy(dx, inside(&job, sums + image * job.image, row), sizeof(float) * width * inputs);
        dy += (ptrdiff_t)cells * outputs;
        chosen += (ptrdiff_t)cells * outputs;
    }
}

/* How many images are gone through for each filter. */
static int together(const struct job *job)
{
    int fit = PIXELS / job->image;
    return fit < 1 ? 1 : least(fit, IMAGES);
}

/* The terms of each output in some images; how many they are. most: terms of an output. */
static void list_outputs(const struct job *job, const float *dy, const int32_t *chosen, int images, int most, struct term *term, int *count)
{
    memset(count, 0, sizeof(int) * job->outputs);
    for (int image = 0; image < images; image++)
        for (int cell = 0; cell < job->cells; cell++, dy += job->outputs, chosen += job->outputs) {
            int32_t at = image * job->image + window(job, cell);
            int32_t begin[CELL + 1] = {at, at + job->pixel, at + job->line, at + job->line + job->pixel, 0};
            for (int o = 0; o < job->outputs; o++) {
                term[(ptrdiff_t)o * most + count[o]] = (struct term){dy[o], begin[chosen[o]]};
                count[o] += chosen[o] != CELL;
            }
        }
}

/* Numbers of a pixel in the gradient by the filters, of which `inputs` count: whole vectors, for aligned loads, unless a row is short. */
int certflow_pooled_pixel(int inputs, int kernel) { return cut_of(kernel, kernel * inputs).rows > 1 ? inputs : whole(inputs, LANES); }

/* Numbers of a row in it, of which those of `kernel` pixels count. */
int certflow_pooled_row(int inputs, int kernel) { return cut_of(kernel, kernel * certflow_pooled_pixel(inputs, kernel)).summed; }

/* The gradients by filters and bias.  x [images, height, width, inputs]; filters [outputs, kernel, certflow_pooled_row], bias [outputs];
   scratch as above. */
void certflow_pooled_filters(const float *x, const float *dy, const int32_t *chosen, float *filters, float *bias, float *scratch,
                             int64_t images, int height, int width, int inputs, int outputs, int kernel, int pad)
{
    int pixel = certflow_pooled_pixel(inputs, kernel);
    struct job job = job_of(height, width, inputs, outputs, kernel, pad, pixel);
    struct cut cut = cut_of(kernel, kernel * pixel);
    int images_each = together(&job), most = images_each * job.cells;
    float *padded = scratch;
    int *count = (int *)(padded + images_each * job.image);
    struct term *term = (struct term *)(count + outputs);
    memset(filters, 0, sizeof(float) * outputs * kernel * cut.summed);
    memset(bias, 0, sizeof(float) * outputs);
    memset(padded, 0, sizeof(float) * images_each * job.image);
    for (int64_t first = 0; first < images; first += images_each) {
        int number = images - first < images_each ? images - first : images_each;
        for (int image = 0; image < number; image++)
            for (int row = 0; row < height; row++) {
                float *to = inside(&job, padded + image * job.image, row);
                int pixels = pixel == inputs ? width : 1; /* that are copied at a time */
                for (int column = 0; column < width; column += pixels, x += pixels * inputs, to += pixels * pixel)
                    memcpy(to, x, sizeof(float) * pixels * inputs);
            }
        list_outputs(&job, dy + first * job.cells * outputs, chosen + first * job.cells * outputs, number, most, term, count);
        for (int o = 0; o < outputs; o++) {
            const struct term *own = term + (ptrdiff_t)o * most;
            float *filter = filters + (ptrdiff_t)o * kernel * cut.summed, sum = 0;
            for (int t = 0; t < count[o]; t++)
                sum += own[t].gradient;
            bias[o] += sum;
            for (int row = 0; row < kernel; row += cut.rows)
                for (int k = 0; k < cut.summed; k += cut.parts * LANES)
                    add_cut(own, count[o], padded + row * job.line + k, job.line, filter + row * cut.summed + k, cut.summed, cut);
        }
    }
}

/* How many numbers either function needs to work in. */
int64_t certflow_pooled_scratch(int height, int width, int inputs, int outputs, int kernel, int pad)
{
    struct job job = job_of(height, width, inputs, outputs, kernel, pad, whole(inputs, LANES));
    int64_t lists = IMAGES * CELL * job.cells;
    return IMAGES * (job.image + job.cells) + lists + 2 * (lists + 1) * outputs;
}
