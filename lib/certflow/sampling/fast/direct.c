/* Convolutions of few input channels, whose sums are formed as they stand: every product of a filter with the pixels under it.

   An image is copied with its padding, so that a pixel's neighbours lie at the same distances everywhere. Images are [rows, height,
   width, channels]. Every output is summed in the same order whichever places lie beside its own.  */

#include "products.h"

/* One image with `pad` zeros on each side. */
static void padded(const float *x, float *to, int height, int width, int inputs, int pad)
{
    ptrdiff_t line = (ptrdiff_t)(width + 2 * pad) * inputs, within = (ptrdiff_t)width * inputs;
    memset(to, 0, sizeof(float) * line * (height + 2 * pad));
    for (int row = 0; row < height; row++)
        memcpy(to + (row + pad) * line + pad * inputs, x + row * within, sizeof(float) * within);
}

int64_t certflow_scratch(int height, int width, int inputs, int outputs, int kernel, int pad)
{
    (void)kernel;
    int64_t image = (int64_t)(height + 2 * pad) * (width + 2 * pad) * inputs;
    return image + (int64_t)TILES * whole(outputs, COLUMNS);
}

/* An image and what is computed from it: see `certflow_convolve`. Sizes of `image` are with its padding, the others y's. */
struct job {
    const float *image, *filters, *bias, *other;
    float *y, *sums;
    const int *at;
    int line, stride, inputs, outputs, terms, rows, columns, relu;
};

/* The sums of `wide` outputs, or groups of 2x2 that become one, from column `first` of a row on: [wide, side, side, channels]. */
static inline __attribute__((always_inline)) void sum(const struct job *job, int row, int first, int wide, int side)
{
    int places = wide * side * side;
    const float *place[TILES];
    for (int t = 0; t < TILES; t++) { /* places behind the last are computed as the last */
        int p = least(t, places - 1), up = p / side % side, along = p / (side * side) * side + p % side;
        ptrdiff_t column = (ptrdiff_t)first * side + along;
        place[t] = job->image + (((ptrdiff_t)row * side + up) * job->line + column * job->inputs) * job->stride;
    }
    multiply(place, places, job->at, job->filters, job->terms, job->outputs, job->sums, whole(job->outputs, COLUMNS));
}

/* From sums to outputs. */
static inline __attribute__((always_inline)) void finish(const struct job *job, int row, int first, int wide, int side)
{
    int group = side * side, out = whole(job->outputs, COLUMNS);
    ptrdiff_t to = ((ptrdiff_t)row * job->columns + first) * job->outputs;
    for (int j = 0; j < wide; j++, to += job->outputs)
        for (int k = 0; k < job->outputs; k += LANES) {
            const float *own = job->sums + (ptrdiff_t)j * group * out + k;
            vec value = load(own);
            for (int g = 1; g < group; g++)
                value = larger(value, load(own + g * out));
            value += load(job->bias + k);
            if (job->other)
                value += load_some(job->other + to + k, job->outputs - k);
            store_some(job->y + to + k, job->relu ? relu_of(value) : value, job->outputs - k);
        }
}

/* side: 2 where the largest of each 2x2 is taken, else 1; a constant, so that nothing is divided by it. */
static inline __attribute__((always_inline)) void convolve(const struct job *job, int side)
{
    int most = TILES / (side * side);
    for (int row = 0; row < job->rows; row++)
        for (int first = 0; first < job->columns; first += most) {
            int wide = least(job->columns - first, most);
            sum(job, row, first, wide, side);
            finish(job, row, first, wide, side);
        }
}

/* filters: in panels [panels, kernel, kernel, inputs, COLUMNS]. */
void certflow_convolve(const float *x, const float *filters, const float *bias, const float *other, float *y, float *scratch,
                       int64_t images, int height, int width, int inputs, int outputs, int kernel, int stride, int pad, int relu,
                       int pool)
{
    int side = pool ? 2 : 1, line = (width + 2 * pad) * inputs, terms = kernel * kernel * inputs, at[terms];
    int rows = ((height + 2 * pad - kernel) / stride + 1) / side, columns = ((width + 2 * pad - kernel) / stride + 1) / side;
    for (int a = 0, c = 0; a < kernel; a++)
        for (int b = 0; b < kernel * inputs; b++)
            at[c++] = a * line + b;
    struct job job = {scratch, filters, bias, other, y, scratch + (ptrdiff_t)(height + 2 * pad) * line, at,
                      line, stride, inputs, outputs, terms, rows, columns, relu};
    ptrdiff_t each = (ptrdiff_t)rows * columns * outputs;
    for (int64_t i = 0; i < images; i++, job.y += each) {
        padded(x + i * height * width * inputs, scratch, height, width, inputs, pad);
        if (pool)
            convolve(&job, 2);
        else
            convolve(&job, 1);
        if (other)
            job.other += each;
    }
}
