// Batch norm, an optional residual and an optional ReLU over activations whose batch is innermost in memory.
//
// An activation is a matrix [channels, count], count = height * width * batch, in bfloat16 or float. One thread does
// all of a channel: the second reading of it comes from the cache, and the number of threads changes no bit. Sums
// are kept in float over BLOCK entries and in double beyond.
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 64, BLOCK = 64 * LANES };

#define INLINE static inline __attribute__((always_inline))

INLINE float get(const void *from, int64_t at, int half) {
    if (!half) return ((const float *)from)[at];
    uint32_t bits = (uint32_t)((const uint16_t *)from)[at] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE void put(void *to, int64_t at, float value, int half) {  // to the nearest, ties to even; a NaN stays one
    if (!half) {
        ((float *)to)[at] = value;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    ((uint16_t *)to)[at] = value != value ? 0x7fc0 : (uint16_t)bits;
}

// Calls the work with constants, so that the compiler makes a loop without branches of each.
#define BY_TYPE(work, ...) (half ? work(__VA_ARGS__, 1) : work(__VA_ARGS__, 0))

// Adds up two terms of each entry from `first` to `last`; `term` sets a and b of the entry `at + i`.
#define SUM(first, last, sum_a, sum_b, term)                                                                 \
    for (int64_t start = first; start < last; start += BLOCK) {                                              \
        float sa[LANES] = {0}, sb[LANES] = {0};                                                              \
        int64_t end = start + BLOCK < last ? start + BLOCK : last, at = start;                               \
        for (; at + LANES <= end; at += LANES)                                                               \
            for (int i = 0; i < LANES; i++) { float a, b; term sa[i] += a; sb[i] += b; }                     \
        for (int i = 0; at + i < end; i++) { float a, b; term sa[i] += a; sb[i] += b; }                      \
        for (int i = 0; i < LANES; i++) { sum_a += sa[i]; sum_b += sb[i]; }                                  \
    }

INLINE void moments(const void *x, int64_t first, int64_t count, double *mean, double *variance, int half) {
    double sum = 0, square = 0;
    // Deviations from the first entry, not from zero: their squares keep their digits.
    const float origin = get(x, first, half);
    SUM(first, first + count, sum, square, a = get(x, at + i, half) - origin; b = a * a;)
    double deviation = sum / count, spread = square / count - deviation * deviation;
    *mean = origin + deviation;
    *variance = spread < 0 ? 0 : spread;  // a NaN stays one
}

INLINE void apply(const void *x, const void *residual, void *y, int64_t first, int64_t count, float scale, float shift,
                  int relu, int half) {
    for (int64_t i = first; i < first + count; i++) {
        float value = get(x, i, half) * scale + shift;
        if (residual) value += get(residual, i, half);
        put(y, i, relu && value < 0 ? 0 : value, half);
    }
}

// y = (x - mean) / sqrt(variance + eps) * weight + bias + residual, and where `relu`, zero in place of less; residual
// may be null. In training mean and variance are the batch's, and move the running ones; else they are the running
// ones. Leaves (mean, 1 / sqrt(variance + eps)) in stats [2, channels]. Returns 0.
int rows_forward(const void *x, const void *residual, void *y, int64_t channels, int64_t count, int half, int relu,
                 int training, const float *weight, const float *bias, float *running_mean, float *running_variance,
                 double momentum, double eps, double *stats, int threads) {
    #pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t c = 0; c < channels; c++) {
        double mean = running_mean[c], variance = running_variance[c];
        if (training) {
            BY_TYPE(moments, x, c * count, count, &mean, &variance);
            running_mean[c] += momentum * (mean - running_mean[c]);
            running_variance[c] += momentum * (variance * count / (count - 1) - running_variance[c]);
        }
        double inverse = 1 / sqrt(variance + eps), scale = weight[c] * inverse;
        stats[c] = mean;
        stats[channels + c] = inverse;
        float factor = scale, shift = bias[c] - mean * scale;
        if (residual) BY_TYPE(apply, x, residual, y, c * count, count, factor, shift, relu);
        else BY_TYPE(apply, x, 0, y, c * count, count, factor, shift, relu);
    }
    return 0;
}

INLINE void products(const void *gradient, const void *x, const void *y, int64_t first, int64_t count, float mean,
                     double *sum, double *product, int half) {
    double s = 0, p = 0;
// The gradient is read whether it passes or not: without vectors of 16-bit masks a loop would else have no vectors.
#define TERM(passes)                                                                                          \
    float all = get(gradient, at + i, half);                                                                  \
    a = passes ? all : 0;                                                                                     \
    b = a * (get(x, at + i, half) - mean);
    if (y) { SUM(first, first + count, s, p, TERM((get(y, at + i, half) > 0))) }
    else { SUM(first, first + count, s, p, TERM(1)) }
#undef TERM
    *sum = s;
    *product = p;
}

INLINE void combine(const void *gradient, const void *x, const void *y, void *passed, void *dx, int64_t first,
                    int64_t count, float scale, float slope, float shift, int half) {
    for (int64_t i = first; i < first + count; i++) {
        float all = get(gradient, i, half), value = !y || get(y, i, half) > 0 ? all : 0;
        if (passed) put(passed, i, value, half);
        put(dx, i, value * scale + get(x, i, half) * slope + shift, half);
    }
}

// The gradients of the above in training; y is null where there was no ReLU. `passed`, where not null, gets the
// gradient where y > 0: it is the residual's.
int rows_backward(const void *gradient, const void *x, const void *y, void *passed, void *dx, int64_t channels,
                  int64_t count, int half, const float *weight, const double *stats, float *dweight, float *dbias,
                  int threads) {
    #pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t c = 0; c < channels; c++) {
        int64_t first = c * count;
        double mean = stats[c], inverse = stats[channels + c], factor = weight[c] * inverse, sum, product;
        BY_TYPE(products, gradient, x, y, first, count, (float)mean, &sum, &product);
        product -= (mean - (double)(float)mean) * sum;  // it was taken with the mean rounded to float
        double tilt = -factor * inverse * inverse * product / count;
        dweight[c] = product * inverse;
        dbias[c] = sum;
        float scale = factor, slope = tilt, shift = -factor * sum / count - tilt * mean;
        if (y && passed) BY_TYPE(combine, gradient, x, y, passed, dx, first, count, scale, slope, shift);
        else if (y) BY_TYPE(combine, gradient, x, y, 0, dx, first, count, scale, slope, shift);
        else if (passed) BY_TYPE(combine, gradient, x, 0, passed, dx, first, count, scale, slope, shift);
        else BY_TYPE(combine, gradient, x, 0, 0, dx, first, count, scale, slope, shift);
    }
    return 0;
}
