// Convolutions that multiply by the kept weights alone: forward, gradient of the input, gradient of the kept weights.
//
// The two former are one operation, a gather: out[o, a, b] = sum over the list of o of value * in[c, a * step + y,
// b * step + x]. Forward, `step` is the stride; backward each residue of a pixel by the stride is a phase with lists of
// its own and a step of one. A thread packs a tile (some images, a band of rows, all channels in use; borders, strides
// and bfloat16 are dealt with there and nowhere else) with the batch innermost, then goes through it in strips of
// at most STRIP numbers: a vector over the batch, one broadcast for a kept weight, the sums in registers.
//
// Vectors are GNU C's: compiled on the machine that runs it, one source gives AVX-512, AVX2 and plain code.
// The file includes itself: once for float (storage in float or bfloat16), once for double.
#ifndef REAL
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined __AVX512F__
enum { BYTES = 64 };
#elif defined __AVX__
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
enum { VECTORS = 8, SCRATCH = 1 << 20, LINE = 64, NEAR = 32 << 10, FLOAT = 0, BFLOAT16 = 1, DOUBLE = 2 };
#define INLINE static inline __attribute__((always_inline))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
// Calls a function with a constant number of vectors.
#define ON_VECTORS(vectors, call, ...)               \
    switch (vectors) {                               \
        case 1: call(__VA_ARGS__, 1); break;         \
        case 2: call(__VA_ARGS__, 2); break;         \
        case 3: call(__VA_ARGS__, 3); break;         \
        case 4: call(__VA_ARGS__, 4); break;         \
        case 5: call(__VA_ARGS__, 5); break;         \
        case 6: call(__VA_ARGS__, 6); break;         \
        case 7: call(__VA_ARGS__, 7); break;         \
        default: call(__VA_ARGS__, 8);               \
    }
#define ON_THREADS                                                        \
    _Pragma("omp parallel for num_threads(threads) schedule(static, 1)") \
    for (int64_t thread = 0; thread < threads; thread++)

// In the order in which Python writes them.
typedef struct { int64_t outs, ins, height, width, stride[2], padding[2], dilation[2], groups; } Geometry;
typedef struct { const void *data; int64_t n, c, h, w; } Strided;  // strides in elements
typedef struct { const int32_t *start, *where, *source; } Lists;

// One of the two axes of a gather. Its pixel is a * out_step + phase - lead.
typedef struct { int64_t phases, in_step, out_step, lead, begin, end, low, high, in_size, out_size; } Axis;

typedef struct {
    Axis axis[2];
    int backward;
    int64_t batch, ins, outs, taps, width;  // all channels; of the kernel
    const Geometry *geometry;
} Gather;

typedef struct { int64_t lanes, band, segment, row, plane, size, blocks, bands; } Tile;
typedef struct { int32_t out, rank, begin, end, first, last; } Run;  // a part of the list of one out channel
typedef struct { int64_t begin, end, a[2], b[2], out[2]; } Phase;  // runs; its rows and columns

static int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

static int64_t displacement(const Gather *g, int axis, int64_t tap) {
    int64_t reach = tap * g->geometry->dilation[axis];
    return g->backward ? -(reach / g->geometry->stride[axis]) : reach - g->geometry->padding[axis];
}

static Gather describe(const Geometry *geometry, const int64_t *sizes, int backward) {
    Gather g = {.backward = backward, .batch = sizes[0], .geometry = geometry, .width = geometry->width};
    g.taps = geometry->height * geometry->width;
    g.ins = backward ? geometry->outs : geometry->ins * geometry->groups;
    g.outs = backward ? geometry->ins * geometry->groups : geometry->outs;
    for (int i = 0; i < 2; i++) {
        int64_t taps = i ? geometry->width : geometry->height, stride = geometry->stride[i];
        int64_t whole = sizes[1 + i], padding = geometry->padding[i];
        int64_t made = (whole + 2 * padding - geometry->dilation[i] * (taps - 1) - 1) / stride + 1;
        int64_t one = displacement(&g, i, 0), other = displacement(&g, i, taps - 1);
        g.axis[i] = backward ? (Axis){stride, 1, stride, padding, padding / stride, (whole - 1 + padding) / stride + 1,
                                        MIN(one, other), MAX(one, other), made, whole}
                             : (Axis){1, stride, 1, 0, 0, made, MIN(one, other), MAX(one, other), whole, made};
    }
    return g;
}

// The a of a phase whose pixels there are.
static void within(const Axis *axis, int64_t phase, int64_t *range) {
    range[0] = MAX(axis->begin, -floor_div(phase - axis->lead, axis->out_step));
    range[1] = MIN(axis->end, floor_div(axis->out_size - 1 - phase + axis->lead, axis->out_step) + 1);
}

static int64_t rows_for(const Axis *axis, int64_t band) { return (band - 1) * axis->in_step + axis->high - axis->low + 1; }

INLINE float widen(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE uint16_t narrow(float value) {  // to the nearest, ties to even; a NaN stays one
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return value != value ? 0x7fc0 : (uint16_t)rounded;
}

#define NAME(name) name##_float
#define REAL float
#define WHOLE int32_t
#include __FILE__
#undef REAL
#undef WHOLE
#undef NAME
#define NAME(name) name##_double
#define REAL double
#define WHOLE int64_t
#include __FILE__
#undef REAL
#undef WHOLE
#undef NAME

// out: [channels, height, width, batch]; `in` is x, or backward the gradient of y. `values` and `bias` are in float,
// or double as all else. Returns 0, or 1 where there is no memory.
int sparse_gather(int type, int backward, const Strided *in, const int64_t *sizes, const Geometry *geometry,
                  const Lists *lists, const void *values, const void *bias, void *out, int threads) {
    Gather g = describe(geometry, sizes, backward);
    return type == DOUBLE ? gather_double(&g, in, lists, values, bias, out, type, threads)
                          : gather_float(&g, in, lists, values, bias, out, type, threads);
}

// The gradient of the kept values, in the order of the forward lists.
int sparse_values(int type, const Strided *x, const Strided *gradient, const int64_t *sizes, const Geometry *geometry,
                  const Lists *lists, void *out, int threads) {
    Gather g = describe(geometry, sizes, 0);
    return type == DOUBLE ? values_double(&g, x, gradient, lists, out, type, threads)
                          : values_float(&g, x, gradient, lists, out, type, threads);
}

#else  // what follows is compiled for each REAL

enum { NAME(LANES) = BYTES / sizeof(REAL), NAME(STRIP) = VECTORS * BYTES / sizeof(REAL) };
#define LANES NAME(LANES)
#define STRIP NAME(STRIP)
#define VECTOR NAME(vector)
#define BITS NAME(bits)
#define ENTRY NAME(entry)
#define PROGRAM NAME(program)
typedef REAL VECTOR __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
typedef WHOLE BITS __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
typedef struct { REAL value; int32_t offset; } ENTRY;
typedef struct { Tile tile; ENTRY *entries; Run *runs; Phase *phases; int32_t *rank, *channels; int64_t used, made; } PROGRAM;

INLINE REAL NAME(read)(const void *data, int64_t at, int type) {
    return type == BFLOAT16 ? (REAL)widen(((const uint16_t *)data)[at]) : ((const REAL *)data)[at];
}

INLINE void NAME(write)(void *data, int64_t at, REAL value, int type) {
    if (type == BFLOAT16) ((uint16_t *)data)[at] = narrow(value);
    else ((REAL *)data)[at] = value;
}

static Tile NAME(shape)(const Gather *g, int64_t channels) {
    const Axis *y = &g->axis[0], *x = &g->axis[1];
    int64_t columns = MAX(1, x->end - x->begin), rows = MAX(1, y->end - y->begin);
    Tile t = {.lanes = LANES};
    while (t.lanes * columns < STRIP && t.lanes < STRIP) t.lanes *= 2;
    if (g->batch < 2 * t.lanes) t.lanes = MIN(STRIP, MAX(1, g->batch));
    t.segment = (columns + (x->high - x->low) / x->in_step) * t.lanes;
    t.row = t.segment * x->in_step;
    int64_t fits = SCRATCH / (int64_t)sizeof(REAL) / MAX(1, channels) / t.row;
    t.band = MIN(rows, MAX(1, (fits - (y->high - y->low) - 1) / y->in_step + 1));
    t.bands = (rows + t.band - 1) / t.band;
    t.band = (rows + t.bands - 1) / t.bands;
    int64_t line = LINE / sizeof(REAL);
    t.plane = ((rows_for(y, t.band) * t.row + line - 1) / line | 1) * line;  // odd: planes in other sets of the cache
    t.size = (channels * t.plane + 2 * STRIP) * sizeof(REAL);
    t.blocks = (g->batch + t.lanes - 1) / t.lanes;
    return t;
}

static void NAME(release)(PROGRAM *p) {
    free(p->entries), free(p->runs), free(p->phases), free(p->rank), free(p->channels);
}

// Lists -> runs by phase, block of in channels (so that the rows of a block stay in the first cache) and out channel.
static int NAME(prepare)(const Gather *g, const Lists *lists, const REAL *values, PROGRAM *p) {
    const Axis *y = &g->axis[0], *x = &g->axis[1];
    int64_t phases = y->phases * x->phases, all = lists->start[phases * g->outs];
    *p = (PROGRAM){.entries = malloc((all + 1) * sizeof *p->entries), .phases = malloc(phases * sizeof *p->phases),
                   .runs = malloc((all + phases * g->outs) * sizeof *p->runs),
                   .rank = calloc(g->ins + 1, sizeof *p->rank), .channels = malloc((g->ins + 1) * sizeof *p->channels)};
    int64_t *next = malloc((phases * g->outs + 1) * sizeof *next), *tap = malloc(g->taps * sizeof *tap);
    if (!p->entries || !p->phases || !p->runs || !p->rank || !p->channels || !next || !tap)
        return free(next), free(tap), NAME(release)(p), 1;
    for (int64_t k = 0; k < all; k++) p->rank[lists->where[k] / g->taps] = 1;
    for (int64_t c = 0; c < g->ins; c++)
        if (p->rank[c]) { p->rank[c] = p->used; p->channels[p->used++] = c; }
    Tile t = p->tile = NAME(shape)(g, p->used);
    for (int64_t k = 0; k < g->taps; k++) {
        int64_t right = displacement(g, 1, k % g->width) - x->low;
        tap[k] = (displacement(g, 0, k / g->width) - y->low) * t.row + right % x->in_step * t.segment
                 + right / x->in_step * t.lanes;
    }
    for (int64_t k = 0; k < all; k++) {
        int64_t where = lists->where[k];
        p->entries[k].offset = p->rank[where / g->taps] * t.plane + tap[where % g->taps];
        p->entries[k].value = values ? values[lists->source ? lists->source[k] : k] : 0;
    }
    int64_t columns = MIN(x->end - x->begin, STRIP / t.lanes);
    int64_t touched = (y->high - y->low + 1) * (columns + x->high - x->low) * t.lanes * sizeof(REAL);
    int64_t block = MAX(1, NEAR / touched), made = 0;
    for (int64_t i = 0; i < phases * g->outs; i++) next[i] = lists->start[i];
    for (int64_t f = 0; f < phases; f++) {
        Phase *phase = &p->phases[f];
        phase->begin = made;
        phase->out[0] = f / x->phases - y->lead;
        phase->out[1] = f % x->phases - x->lead;
        within(y, f / x->phases, phase->a);
        within(x, f % x->phases, phase->b);
        for (int64_t from = 0; from == 0 || from < p->used; from += block)
            for (int64_t o = 0, rank = -1; o < g->outs; o++) {
                int64_t begin = next[f * g->outs + o], end = begin, stop = lists->start[f * g->outs + o + 1];
                while (end < stop && p->rank[lists->where[end] / g->taps] < from + block) end++;
                int first = begin == lists->start[f * g->outs + o], empty = stop == lists->start[f * g->outs + o];
                rank += !empty;
                if (empty ? from > 0 : begin == end) continue;
                p->runs[made++] = (Run){o, MAX(0, rank), begin, end, first, end == stop};
                next[f * g->outs + o] = end;
            }
        phase->end = made;
    }
    p->made = made;
    free(next), free(tap);
    return 0;
}

// One pixel of a tile: `count` images, then zeros.
INLINE void NAME(pack_cell)(REAL *cell, int64_t lanes, const Strided *in, int64_t at, int64_t count, int type) {
    int64_t n = 0;
    if (in->n == 1) for (; n < count; n++) cell[n] = NAME(read)(in->data, at + n, type);
    else for (; n < count; n++) cell[n] = NAME(read)(in->data, at + n * in->n, type);
    for (; n < lanes; n++) cell[n] = 0;
}

INLINE void NAME(pack_row)(REAL *to, const Tile *t, const Axis *x, const Strided *in, int64_t at, int64_t count, int type) {
    for (int64_t part = 0; part < x->in_step; part++)
        for (int64_t i = 0; i < t->segment / t->lanes; i++) {
            int64_t column = (x->begin + i) * x->in_step + x->low + part;
            REAL *cell = to + part * t->segment + i * t->lanes;
            NAME(pack_cell)(cell, t->lanes, in, at + column * in->w, column >= 0 && column < x->in_size ? count : 0, type);
        }
}

// A tile of images from `image` on and rows for the results from row `a` on.
INLINE void NAME(pack)(REAL *to, const Tile *t, const Gather *g, const Strided *in, const int32_t *channels,
                       int64_t used, int64_t image, int64_t a, int type) {
    const Axis *y = &g->axis[0];
    int64_t count = MIN(t->lanes, g->batch - image), rows = rows_for(y, t->band);
    for (int64_t c = 0; c < used; c++)
        for (int64_t row = 0; row < rows; row++) {
            int64_t from = a * y->in_step + y->low + row;
            REAL *line = to + c * t->plane + row * t->row;
            if (from < 0 || from >= y->in_size) memset(line, 0, t->row * sizeof(REAL));
            else NAME(pack_row)(line, t, &g->axis[1], in, image * in->n + channels[c] * in->c + from * in->h, count, type);
        }
}

// Where the sums of a strip go: columns of `lanes` numbers, `count` of them wanted, `step` apart.
INLINE void NAME(store)(void *out, int64_t at, int64_t step, int64_t columns, int64_t lanes, int64_t count,
                        const VECTOR *sums, int type) {
    REAL strip[STRIP];
    memcpy(strip, sums, sizeof strip);
    for (int64_t i = 0; i < columns; i++)
        for (int64_t n = 0; n < count; n++) NAME(write)(out, at + i * step + n, strip[i * lanes + n], type);
}

INLINE void NAME(multiply)(VECTOR *sums, const ENTRY *entry, const ENTRY *end, const REAL *strip, int vectors) {
    VECTOR sum[VECTORS];
    for (int i = 0; i < vectors; i++) sum[i] = sums[i];
    for (; entry < end; entry++) {
        const REAL *from = strip + entry->offset;
        for (int i = 0; i < vectors; i++) sum[i] += entry->value * *(const VECTOR *)(from + i * LANES);
    }
    for (int i = 0; i < vectors; i++) sums[i] = sum[i];
}

INLINE void NAME(multiply_tile)(const Gather *g, const PROGRAM *p, const REAL *tile, const REAL *bias, VECTOR *partial,
                                void *out, int64_t image, int64_t a0, int type) {
    const Tile *t = &p->tile;
    const Axis *y = &g->axis[0], *x = &g->axis[1];
    int64_t count = MIN(t->lanes, g->batch - image), width = STRIP / t->lanes;
    for (int64_t f = 0; f < y->phases * x->phases; f++) {
        const Phase *phase = &p->phases[f];
        for (int64_t a = MAX(a0, phase->a[0]); a < MIN(a0 + t->band, phase->a[1]); a++)
            for (int64_t b = phase->b[0]; b < phase->b[1]; b += width) {
                int64_t columns = MIN(width, phase->b[1] - b), vectors = (columns * t->lanes + LANES - 1) / LANES;
                const REAL *strip = tile + (a - a0) * y->in_step * t->row + (b - x->begin) * t->lanes;
                for (const Run *run = p->runs + phase->begin; run < p->runs + phase->end; run++) {
                    VECTOR *sums = partial + run->out * VECTORS;
                    if (run->first) for (int i = 0; i < VECTORS; i++) sums[i] = (VECTOR){0} + (bias ? bias[run->out] : 0);
                    ON_VECTORS(vectors, NAME(multiply), sums, p->entries + run->begin, p->entries + run->end, strip)
                    if (!run->last) continue;
                    int64_t row = a * y->out_step + phase->out[0], column = b * x->out_step + phase->out[1];
                    int64_t pixel = (run->out * y->out_size + row) * x->out_size + column;
                    NAME(store)(out, pixel * g->batch + image, x->out_step * g->batch, columns, t->lanes, count, sums, type);
                }
            }
    }
}

static int NAME(gather)(const Gather *g, const Strided *in, const Lists *lists, const REAL *values, const REAL *bias,
                        void *out, int type, int64_t threads) {
    PROGRAM p;
    if (NAME(prepare)(g, lists, values, &p)) return 1;
    int64_t items = p.tile.blocks * p.tile.bands;
    int failed = 0;
    ON_THREADS {
        REAL *tile = aligned_alloc(LINE, (p.tile.size + LINE - 1) / LINE * LINE);
        VECTOR *partial = aligned_alloc(LINE, MAX(1, g->outs) * VECTORS * LINE);
        for (int64_t item = items * thread / threads; item < items * (thread + 1) / threads && tile && partial; item++) {
            int64_t image = item / p.tile.bands * p.tile.lanes;
            int64_t a = g->axis[0].begin + item % p.tile.bands * p.tile.band;
            if (type == BFLOAT16) {
                NAME(pack)(tile, &p.tile, g, in, p.channels, p.used, image, a, BFLOAT16);
                NAME(multiply_tile)(g, &p, tile, bias, partial, out, image, a, BFLOAT16);
            } else {
                NAME(pack)(tile, &p.tile, g, in, p.channels, p.used, image, a, FLOAT);
                NAME(multiply_tile)(g, &p, tile, bias, partial, out, image, a, FLOAT);
            }
        }
        if (!tile || !partial) failed = 1;
        free(tile), free(partial);
    }
    NAME(release)(&p);
    return failed;
}

// A gradient, [channels, rows, strips, STRIP]: each strip ends in zeros.
INLINE void NAME(pack_gradient)(REAL *to, const Gather *g, const Tile *t, const Strided *in, const Lists *lists,
                                int64_t image, int64_t a0, int type) {
    int64_t count = MIN(t->lanes, g->batch - image), width = STRIP / t->lanes, columns = g->axis[1].end;
    int64_t last = MIN(a0 + t->band, g->axis[0].end);
    for (int64_t o = 0; o < g->outs; o++) {
        if (lists->start[o] == lists->start[o + 1]) continue;
        for (int64_t a = a0; a < last; a++)
            for (int64_t b = 0; b < columns; b += width, to += STRIP) {
                for (int64_t i = 0; i < width; i++) {
                    int64_t at = image * in->n + o * in->c + a * in->h + (b + i) * in->w;
                    NAME(pack_cell)(to + i * t->lanes, t->lanes, in, at, b + i < columns ? count : 0, type);
                }
                for (int64_t i = width * t->lanes; i < STRIP; i++) to[i] = 0;
            }
    }
}

// Adds the products of a strip to the partial sums of a run. Numbers beyond the strip are masked: times zero, an
// infinity is none.
INLINE void NAME(correlate)(VECTOR *sums, const ENTRY *entry, const ENTRY *end, const REAL *strip, const REAL *slopes,
                            int64_t length, int vectors) {
    VECTOR slope[VECTORS];
    BITS mask = {0};
    for (int i = 0; i < vectors; i++) slope[i] = ((const VECTOR *)slopes)[i];
    for (int i = 0; i < LANES; i++) mask[i] = i < length - (vectors - 1) * LANES ? -1 : 0;
    for (; entry < end; entry++, sums++) {
        VECTOR sum[2] = {*sums, {0}};
        for (int i = 0; i < vectors; i++) {
            VECTOR x = *(const VECTOR *)(strip + entry->offset + i * LANES);
            sum[i % 2] += slope[i] * (i < vectors - 1 || length % LANES == 0 ? x : (VECTOR)((BITS)x & mask));
        }
        *sums = sum[0] + sum[1];
    }
}

INLINE void NAME(correlate_tile)(const Gather *g, const PROGRAM *p, const REAL *tile, const REAL *gradient, VECTOR *sums,
                                 int64_t a0) {
    const Tile *t = &p->tile;
    int64_t width = STRIP / t->lanes, columns = g->axis[1].end, strips = (columns + width - 1) / width;
    int64_t rows = MIN(t->band, g->axis[0].end - a0);
    for (int64_t a = 0; a < rows; a++)
        for (int64_t s = 0; s < strips; s++) {
            const REAL *strip = tile + a * g->axis[0].in_step * t->row + s * width * t->lanes;
            int64_t length = MIN(width, columns - s * width) * t->lanes, full = VECTORS * LANES;
            for (const Run *run = p->runs; run < p->runs + p->made; run++) {
                const REAL *slopes = gradient + ((run->rank * rows + a) * strips + s) * STRIP;
                const ENTRY *entry = p->entries + run->begin, *end = p->entries + run->end;
                if (length == full) NAME(correlate)(sums + run->begin, entry, end, strip, slopes, VECTORS * LANES, VECTORS);
                else ON_VECTORS((length + LANES - 1) / LANES, NAME(correlate), sums + run->begin, entry, end, strip, slopes, length)
            }
        }
}

static int NAME(values)(const Gather *g, const Strided *x, const Strided *gradient, const Lists *lists, REAL *out,
                        int type, int64_t threads) {
    PROGRAM p;
    if (NAME(prepare)(g, lists, 0, &p)) return 1;
    const Tile *t = &p.tile;
    int64_t all = lists->start[g->outs], items = t->blocks * t->bands, width = STRIP / t->lanes;
    int64_t strips = (g->axis[1].end + width - 1) / width;
    VECTOR *sums = aligned_alloc(LINE, (threads * all + 1) * LINE);
    int failed = sums == 0;
    if (sums) ON_THREADS {
        VECTOR *own = sums + thread * all;
        REAL *tile = aligned_alloc(LINE, (t->size + LINE - 1) / LINE * LINE);
        REAL *slopes = aligned_alloc(LINE, (g->outs * t->band * strips + 1) * VECTORS * LINE);
        memset(own, 0, all * sizeof *own);
        for (int64_t item = items * thread / threads; item < items * (thread + 1) / threads && tile && slopes; item++) {
            int64_t image = item / t->bands * t->lanes, a = item % t->bands * t->band;
            if (type == BFLOAT16) {
                NAME(pack)(tile, t, g, x, p.channels, p.used, image, a, BFLOAT16);
                NAME(pack_gradient)(slopes, g, t, gradient, lists, image, a, BFLOAT16);
            } else {
                NAME(pack)(tile, t, g, x, p.channels, p.used, image, a, FLOAT);
                NAME(pack_gradient)(slopes, g, t, gradient, lists, image, a, FLOAT);
            }
            NAME(correlate_tile)(g, &p, tile, slopes, own, a);
        }
        if (!tile || !slopes) failed = 1;
        free(tile), free(slopes);
    }
    for (int64_t k = 0; k < all && !failed; k++) {
        VECTOR sum = sums[k];
        for (int64_t thread = 1; thread < threads; thread++) sum += sums[thread * all + k];
        out[k] = 0;
        for (int i = 0; i < LANES; i++) out[k] += sum[i];
    }
    free(sums);
    NAME(release)(&p);
    return failed;
}

#undef LANES
#undef STRIP
#undef VECTOR
#undef BITS
#undef ENTRY
#undef PROGRAM
#endif
