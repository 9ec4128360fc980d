// Convolutions that multiply by the kept weights alone: forward, gradient of the input, gradient of the kept weights.
//
// The two former are one operation, a gather: out[o, a, b] = sum over the list of o of value * in[c, a * step + y,
// b * step + x]. Forward, `step` is the stride; backward each residue of a pixel by the stride is a phase with lists of
// its own and a step of one. A thread packs a tile (some images, a band of rows, all channels in use) with the batch
// innermost; borders and strides are dealt with there and nowhere else. Then it goes through the tile in strips of at
// most STRIP numbers: a vector over the batch, one broadcast for a kept weight, the sums in registers. Packing decides
// at low densities, so a tile is a plain copy: bfloat16 is widened where it is multiplied, by a shift and a mask.
//
// Vectors are GNU C's: compiled on the machine that runs it, one source gives AVX-512, AVX2 and plain code.
// It is compiled for three types of storage: float and bfloat16, both with sums in float, and double.
#include "kernels/common.h"

#define NAME(name) name##_float
#define REAL float
#define CELL float
#include "kernels/each_type.h"
#define NAME(name) name##_bfloat16
#define REAL float
#define CELL uint16_t
#define HALF
#include "kernels/each_type.h"
#undef HALF
#define NAME(name) name##_double
#define REAL double
#define CELL double
#include "kernels/each_type.h"

// out: [channels, height, width, batch]; `in` is x, or backward the gradient of y. `values` and `bias` are in float,
// or double as all else. Returns 0, or 1 where there is no memory.
int sparse_gather(int type, int backward, const Strided *in, const int64_t *sizes, const Geometry *geometry,
                  const Lists *lists, const void *values, const void *bias, void *out, int threads) {
    Gather g = describe(geometry, sizes, backward);
    return type == FLOAT      ? gather_float(&g, in, lists, values, bias, out, threads)
           : type == BFLOAT16 ? gather_bfloat16(&g, in, lists, values, bias, out, threads)
                              : gather_double(&g, in, lists, values, bias, out, threads);
}

// The gradient of the kept values, in the order of the forward lists.
int sparse_values(int type, const Strided *x, const Strided *gradient, const int64_t *sizes, const Geometry *geometry,
                  const Lists *lists, void *out, int threads) {
    Gather g = describe(geometry, sizes, 0);
    return type == FLOAT      ? values_float(&g, x, gradient, lists, out, threads)
           : type == BFLOAT16 ? values_bfloat16(&g, x, gradient, lists, out, threads)
                              : values_double(&g, x, gradient, lists, out, threads);
}
