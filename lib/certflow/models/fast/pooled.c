/* Gradients of a convolution of whose outputs only ReLU of the largest of each 2x2, a cell, is used.

   One output of a cell has a gradient, and none where ReLU gives 0. Plain sums over those that have one take a quarter of the products of
   the whole sum or less: fewer than Winograd's algorithm, and the gradient of all outputs is never written.

   A cell's outputs see kernel + 1 rows and columns of inputs, its window. Output (a, b) of it, which is number 2a + b, sees `kernel` rows
   of the window from row a on, and columns from b on. Products with the zeros around a filter are 0, or NaN where a gradient is infinite:
   then pixels of the same image beside the window are, too. Images are [rows, height, width, channels]; gradients and the numbers of chosen
   outputs [rows, cells down, cells across, outputs]. */

#include "vectors.h"

#define IMAGES 4 /* whose cells are gone through for each part of a window, so that the filters' part stays in the cache */
#define FILTER_IMAGES 2 /* whose pixels stay in the cache */
#define WIDE 8 /* vectors of a row that are summed at a time */
#define BEHIND (WIDE * LANES) /* numbers between images: the last vectors of a row may reach beyond it */

/* A gradient, and where the numbers begin that it is multiplied by: see MOST in pooled.py. */
struct term {
    float gradient;
    int32_t at;
};

/* to[r, p] += sum over terms of gradient * from[at + r, p], for `rows` rows and `parts` vectors. */
static inline __attribute__((always_inline)) void add(const struct term *term, int number, const float *from, ptrdiff_t apart, float *to,
                                                      ptrdiff_t line, int rows, int parts)
{
    vec sum[12];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int p = 0; p < parts; p++)
            sum[r * parts + p] = load(to + r * line + p * LANES);
    for (int t = 0; t < number; t++) {
        const float *row = from + term[t].at;
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (int p = 0; p < parts; p++)
                sum[r * parts + p] += term[t].gradient * load(row + r * apart + p * LANES);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
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

/* `add` for a cut's rows and parts; 3x3 and 5x5 filters have 3 and 5 rows, and windows 4 and 6. */
static void add_cut(const struct term *term, int number, const float *from, ptrdiff_t apart, float *to, ptrdiff_t line, struct cut cut)
{
#define CASE(R, P) \
    case 16 * R + P: \
        add(term, number, from, apart, to, line, R, P); \
        break;
    switch (16 * cut.rows + cut.parts) {
        CASE(3, 1) CASE(4, 1) CASE(5, 1) CASE(6, 1) CASE(3, 2) CASE(4, 2) CASE(5, 2) CASE(6, 2)
        CASE(1, 3) CASE(1, 4) CASE(1, 5) CASE(1, 6) CASE(1, 7) CASE(1, 8)
    default:
        __builtin_trap();
    }
}

/* Images with their padding, and the cells of their outputs; line, image: from a row to the next, from an image to the next. */
struct job {
    int height, width, inputs, outputs, kernel, pad, down, across, cells;
    ptrdiff_t line, image;
};

static struct job job_of(int height, int width, int inputs, int outputs, int kernel, int pad)
{
    int down = (height + 2 * pad - kernel + 1) / 2, across = (width + 2 * pad - kernel + 1) / 2;
    ptrdiff_t line = (ptrdiff_t)(width + 2 * pad) * inputs, image = (height + 2 * pad) * line + BEHIND;
    return (struct job){height, width, inputs, outputs, kernel, pad, down, across, down * across, line, image};
}

/* Where a cell's window begins in an image with its padding. */
static inline ptrdiff_t window(const struct job *job, int cell)
{
    return 2 * (cell / job->across) * job->line + 2 * (cell % job->across) * job->inputs;
}

/* A row of an image without its padding. */
static inline float *inside(const struct job *job, float *padded, int row)
{
    return padded + (row + job->pad) * job->line + (ptrdiff_t)job->pad * job->inputs;
}

/* Numbers from a row of filters to the next, which begins with zeros for the inputs of a pixel and has zeros behind. */
int certflow_pooled_line(int inputs, int kernel)
{
    return whole(inputs + cut_of(kernel + 1, (kernel + 1) * inputs).summed, LANES);
}

/* The terms of each cell of some images; how many they are. */
static void list_cells(const struct job *job, const float *dy, const int32_t *chosen, int cells, struct term *term, int *count)
{
    int apart = certflow_pooled_line(job->inputs, job->kernel), filter = (job->kernel + 2) * apart, inputs = job->inputs;
    /* Where b = 1 one pixel earlier, at the zeros before each row; where a = 1 one row earlier, at the row of zeros. */
    int32_t begin[CELL + 1] = {apart + inputs, apart, inputs, 0, 0};
    for (int cell = 0; cell < cells; cell++, dy += job->outputs, chosen += job->outputs, term += job->outputs) {
        int number = 0;
        for (int o = 0; o < job->outputs; o++) {
            term[number] = (struct term){dy[o], o * filter + begin[chosen[o]]};
            number += chosen[o] != CELL;
        }
        count[cell] = number;
    }
}

/* The gradient by the images.  filters [outputs, kernel + 2, certflow_pooled_line]: a row of zeros, the filter's rows of kernel x inputs
   numbers, a row of zeros.  dx [images, height, width, inputs].  scratch: `certflow_pooled_scratch` numbers. */
void certflow_pooled_images(const float *dy, const int32_t *chosen, const float *filters, float *dx, float *scratch, int64_t images,
                            int height, int width, int inputs, int outputs, int kernel, int pad)
{
    struct job job = job_of(height, width, inputs, outputs, kernel, pad);
    struct cut cut = cut_of(kernel + 1, (kernel + 1) * inputs);
    int apart = certflow_pooled_line(inputs, kernel);
    float *sums = scratch;
    int *count = (int *)(sums + IMAGES * job.image);
    struct term *term = (struct term *)(count + IMAGES * job.cells);
    for (int64_t first = 0; first < images; first += IMAGES) {
        int number = images - first < IMAGES ? images - first : IMAGES, cells = number * job.cells;
        memset(sums, 0, sizeof(float) * IMAGES * job.image);
        list_cells(&job, dy + first * job.cells * outputs, chosen + first * job.cells * outputs, cells, term, count);
        for (int row = 0; row <= kernel; row += cut.rows)
            for (int k = 0; k < cut.summed; k += cut.parts * LANES)
                for (int cell = 0; cell < cells; cell++) {
                    float *image = sums + cell / job.cells * job.image;
                    add_cut(term + (ptrdiff_t)cell * outputs, count[cell], filters + row * apart + k, apart,
                            image + window(&job, cell % job.cells) + row * job.line + k, job.line, cut);
                }
        for (int image = 0; image < number; image++)
            for (int row = 0; row < height; row++, dx += width * inputs)
                memcpy(dx, inside(&job, sums + image * job.image, row), sizeof(float) * width * inputs);
    }
}

/* The terms of each output in some images; how many they are. */
static void list_outputs(const struct job *job, const float *dy, const int32_t *chosen, int images, struct term *term, int *count)
{
    memset(count, 0, sizeof(int) * job->outputs);
    for (int image = 0; image < images; image++)
        for (int cell = 0; cell < job->cells; cell++, dy += job->outputs, chosen += job->outputs) {
            int32_t at = image * job->image + window(job, cell);
            int32_t begin[CELL + 1] = {at, at + job->inputs, at + job->line, at + job->line + job->inputs, 0};
            for (int o = 0; o < job->outputs; o++) {
                term[(ptrdiff_t)o * FILTER_IMAGES * job->cells + count[o]] = (struct term){dy[o], begin[chosen[o]]};
                count[o] += chosen[o] != CELL;
            }
        }
}

/* Numbers of a row of the gradient by the filters, of which kernel x inputs count. */
int certflow_pooled_row(int inputs, int kernel) { return cut_of(kernel, kernel * inputs).summed; }

/* The gradients by filters and bias.  x [images, height, width, inputs]; filters [outputs, kernel, certflow_pooled_row], bias [outputs];
   scratch as above. */
void certflow_pooled_filters(const float *x, const float *dy, const int32_t *chosen, float *filters, float *bias, float *scratch,
                             int64_t images, int height, int width, int inputs, int outputs, int kernel, int pad)
{
    struct job job = job_of(height, width, inputs, outputs, kernel, pad);
    struct cut cut = cut_of(kernel, kernel * inputs);
    float *padded = scratch;
    int *count = (int *)(padded + FILTER_IMAGES * job.image);
    struct term *term = (struct term *)(count + outputs);
    memset(filters, 0, sizeof(float) * outputs * kernel * cut.summed);
    memset(bias, 0, sizeof(float) * outputs);
    memset(padded, 0, sizeof(float) * FILTER_IMAGES * job.image);
    for (int64_t first = 0; first < images; first += FILTER_IMAGES) {
        int number = images - first < FILTER_IMAGES ? images - first : FILTER_IMAGES;
        for (int image = 0; image < number; image++)
            for (int row = 0; row < height; row++, x += width * inputs)
                memcpy(inside(&job, padded + image * job.image, row), x, sizeof(float) * width * inputs);
        list_outputs(&job, dy + first * job.cells * outputs, chosen + first * job.cells * outputs, number, term, count);
        for (int o = 0; o < outputs; o++) {
            const struct term *own = term + (ptrdiff_t)o * FILTER_IMAGES * job.cells;
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
    struct job job = job_of(height, width, inputs, outputs, kernel, pad);
    return IMAGES * (job.image + job.cells + 2 * (int64_t)job.cells * outputs) + outputs;
}
