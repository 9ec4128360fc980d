// Batch norm over a training batch, an optional residual and ReLU, in two passes each way over bfloat16.
//
// An activation is a matrix [rows, width], channels last in memory; width is a whole number of pixels, so that a
// row fills the vector registers: column i belongs to channel i % channels. Sums are kept in float over BLOCK rows
// and in double beyond, by thread, and added up in the order of threads: as many threads, the same bits.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint16_t bf16;

enum { LANES = 64, BLOCK = 256 };

static inline float widen(bf16 half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline bf16 narrow(float value) {  // to the nearest, ties to even; a NaN stays one
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return value != value ? 0x7fc0 : (bf16)rounded;
}

static inline bf16 where_positive(bf16 y, bf16 gradient) { return y & 0x7fff ? gradient : 0; }  // y is never negative

#define INLINE static inline __attribute__((always_inline))

// Runs `pass` over all columns of this thread's rows, LANES at a time: with a constant the compiler unrolls it.
#define IN_LANES(pass)                                                                        \
    for (int64_t column = 0; column < width; column += LANES) {                               \
        if (width - column >= LANES) pass(LANES); else pass((int)(width - column));           \
    }

#define ON_THREADS                                                                            \
    _Pragma("omp parallel for num_threads(threads) schedule(static, 1)")                      \
    for (int thread = 0; thread < threads; thread++)
#define FIRST (rows * thread / threads)
#define LAST (rows * (thread + 1) / threads)

INLINE void add_moments(const bf16 *x, int64_t first, int64_t last, int64_t width, const float *origin, double *sum,
                        double *square, int lanes) {
    for (int64_t start = first; start < last; start += BLOCK) {
        float s[LANES] = {0}, q[LANES] = {0};
        for (int64_t row = start; row < last && row < start + BLOCK; row++)
            for (int i = 0; i < lanes; i++) {
                float value = widen(x[row * width + i]) - origin[i];
                s[i] += value;
                q[i] += value * value;
            }
        for (int i = 0; i < lanes; i++) { sum[i] += s[i]; square[i] += q[i]; }
    }
}

INLINE void scale_add_clamp(const bf16 *x, const bf16 *residual, bf16 *y, int64_t first, int64_t last, int64_t width,
                            const float *scale, const float *shift, int lanes) {
    for (int64_t row = first; row < last; row++)
        for (int i = 0; i < lanes; i++) {
            float value = widen(x[row * width + i]) * scale[i] + shift[i];
            if (residual) value += widen(residual[row * width + i]);
            y[row * width + i] = narrow(value < 0 ? 0 : value);
        }
}

INLINE void add_products(const bf16 *gradient, const bf16 *x, const bf16 *y, bf16 *passed, int64_t first, int64_t last,
                         int64_t width, const float *mean, double *sum, double *product, int lanes) {
    for (int64_t start = first; start < last; start += BLOCK) {
        float s[LANES] = {0}, p[LANES] = {0};
        for (int64_t row = start; row < last && row < start + BLOCK; row++)
            for (int i = 0; i < lanes; i++) {
                int64_t at = row * width + i;
                bf16 half = where_positive(y[at], gradient[at]);
                if (passed) passed[at] = half;
                s[i] += widen(half);
                p[i] += widen(half) * (widen(x[at]) - mean[i]);
            }
        for (int i = 0; i < lanes; i++) { sum[i] += s[i]; product[i] += p[i]; }
    }
}

INLINE void combine(const bf16 *gradient, const bf16 *x, const bf16 *y, bf16 *dx, int64_t first, int64_t last,
                    int64_t width, const float *scale, const float *slope, const float *shift, int lanes) {
    for (int64_t row = first; row < last; row++)
        for (int i = 0; i < lanes; i++) {
            int64_t at = row * width + i;
            float value = widen(where_positive(y[at], gradient[at]));
            dx[at] = narrow(value * scale[i] + widen(x[at]) * slope[i] + shift[i]);
        }
}

// The sum of one channel over threads and over the pixels of a row; `sums` is [threads, 2, width].
static double total(const double *sums, int which, int64_t channel, int64_t channels, int64_t width, int threads) {
    double sum = 0;
    for (int thread = 0; thread < threads; thread++)
        for (int64_t column = channel; column < width; column += channels)
            sum += sums[(2 * thread + which) * width + column];
    return sum;
}

// y = max(0, (x - mean) / sqrt(variance + eps) * weight + bias + residual); residual may be null.
// Moves the running statistics and leaves (mean, 1 / sqrt(variance + eps)) in stats [2, channels].
// Returns 0, or 1 where there is no memory.
int norm_relu_forward(const bf16 *x, const bf16 *residual, bf16 *y, int64_t rows, int64_t width, int64_t channels,
                      const float *weight, const float *bias, float *running_mean, float *running_variance,
                      double momentum, double eps, double *stats, int threads) {
    double *sums = calloc(2 * threads * width, sizeof *sums);
    float *scale = malloc(2 * width * sizeof *scale), *shift = scale + width;
    if (!sums || !scale) return free(sums), free(scale), 1;
    // Deviations from the first pixel, not from zero: their squares keep their digits.
    for (int64_t i = 0; i < width; i++) shift[i] = widen(x[i % channels]);
    ON_THREADS {
        double *own = sums + 2 * thread * width;
#define PASS(lanes) add_moments(x + column, FIRST, LAST, width, shift + column, own + column, own + width + column, lanes)
        IN_LANES(PASS)
#undef PASS
    }
    double count = (double)rows * width / channels;
    for (int64_t c = 0; c < channels; c++) {
        double deviation = total(sums, 0, c, channels, width, threads) / count;
        double variance = total(sums, 1, c, channels, width, threads) / count - deviation * deviation;
        variance = variance < 0 ? 0 : variance;  // a NaN stays one
        double mean = shift[c] + deviation, inverse = 1 / sqrt(variance + eps);
        running_mean[c] += momentum * (mean - running_mean[c]);
        running_variance[c] += momentum * (variance * count / (count - 1) - running_variance[c]);
        stats[c] = mean;
        stats[channels + c] = inverse;
    }
    for (int64_t i = 0; i < width; i++) {
        int64_t c = i % channels;
        double factor = weight[c] * stats[channels + c];
        scale[i] = factor;
        shift[i] = bias[c] - stats[c] * factor;
    }
    ON_THREADS {
#define PLAIN(lanes) scale_add_clamp(x + column, 0, y + column, FIRST, LAST, width, scale + column, shift + column, lanes)
#define ADDED(lanes) \
    scale_add_clamp(x + column, residual + column, y + column, FIRST, LAST, width, scale + column, shift + column, lanes)
        if (residual) IN_LANES(ADDED) else IN_LANES(PLAIN)
#undef PLAIN
#undef ADDED
    }
    return free(sums), free(scale), 0;
}

// The gradients of the above. `passed`, where not null, gets the gradient where y > 0: it is the residual's.
int norm_relu_backward(const bf16 *gradient, const bf16 *x, const bf16 *y, bf16 *passed, bf16 *dx, int64_t rows,
                       int64_t width, int64_t channels, const float *weight, const double *stats, float *dweight,
                       float *dbias, int threads) {
    double *sums = calloc(2 * threads * width, sizeof *sums);
    float *scale = malloc(3 * width * sizeof *scale), *slope = scale + width, *shift = slope + width;
    if (!sums || !scale) return free(sums), free(scale), 1;
    float *mean = shift;
    for (int64_t i = 0; i < width; i++) mean[i] = stats[i % channels];
    ON_THREADS {
        double *own = sums + 2 * thread * width;
#define ALONE(lanes) \
    add_products(gradient + column, x + column, y + column, 0, FIRST, LAST, width, mean + column, own + column, \
                 own + width + column, lanes)
#define PASSED(lanes) \
    add_products(gradient + column, x + column, y + column, passed + column, FIRST, LAST, width, mean + column, \
                 own + column, own + width + column, lanes)
        if (passed) IN_LANES(PASSED) else IN_LANES(ALONE)
#undef ALONE
#undef PASSED
    }
    double count = (double)rows * width / channels;
    for (int64_t c = 0; c < channels; c++) {
        double sum = total(sums, 0, c, channels, width, threads);
        double product = total(sums, 1, c, channels, width, threads);
        // `product` was taken with the mean rounded to float.
        product -= (stats[c] - (double)(float)stats[c]) * sum;
        double inverse = stats[channels + c], factor = weight[c] * inverse;
        double tilt = -factor * inverse * inverse * product / count;
        dweight[c] = product * inverse;
        dbias[c] = sum;
        for (int64_t i = c; i < width; i += channels) {
            scale[i] = factor;
            slope[i] = tilt;
            shift[i] = -factor * sum / count - tilt * stats[c];
        }
    }
    ON_THREADS {
#define PASS(lanes) \
    combine(gradient + column, x + column, y + column, dx + column, FIRST, LAST, width, scale + column, slope + column, \
            shift + column, lanes)
        IN_LANES(PASS)
#undef PASS
    }
    return free(sums), free(scale), 0;
}
