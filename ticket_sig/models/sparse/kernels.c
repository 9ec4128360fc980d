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
// The file includes itself for each type of storage: float and bfloat16, both with sums in float, and double.
#ifndef REAL
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

#if defined __AVX512F__
enum { BYTES = 64 };
#elif defined __AVX__
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
// A strip has PAIRS pairs of vectors of sums. FAR and NEAR: bytes of the second cache that a tile may take, and of the
// first that a block of its channels may; TOGETHER: kept weights whose gradients are summed up side by side.
enum { PAIRS = 4, VECTORS = 2 * PAIRS, FAR = 3 << 19, NEAR = 32 << 10, LINE = 64, TOGETHER = 512, HUGE_PAGE = 2 << 20 };
enum { FLOAT, BFLOAT16, DOUBLE };
#define INLINE static inline __attribute__((always_inline))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
// Calls a function with a constant number of pairs.
#define ON_PAIRS(pairs, call, ...)                   \
    switch (pairs) {                                 \
        case 1: call(__VA_ARGS__, 1); break;         \
        case 2: call(__VA_ARGS__, 2); break;         \
        case 3: call(__VA_ARGS__, 3); break;         \
        default: call(__VA_ARGS__, PAIRS);           \
    }
#define ON_THREADS                                                       \
    _Pragma("omp parallel for num_threads(threads) schedule(static, 1)") \
    for (int64_t thread = 0; thread < threads; thread++)

#ifdef __AVX512BF16__  // the numbers of two vectors in turn
#define IN_TURN(i) (i) | (i + 16) << 16
#define INTERLEAVED (__m512i)(RAW){IN_TURN(0), IN_TURN(1), IN_TURN(2), IN_TURN(3), IN_TURN(4), IN_TURN(5), IN_TURN(6), \
    IN_TURN(7), IN_TURN(8), IN_TURN(9), IN_TURN(10), IN_TURN(11), IN_TURN(12), IN_TURN(13), IN_TURN(14), IN_TURN(15)}
#endif
typedef int32_t RAW __attribute__((vector_size(BYTES), aligned(2), may_alias));

// In the order in which Python writes them.
typedef struct { int64_t outs, ins, height, width, stride[2], padding[2], dilation[2], groups; } Geometry;
typedef struct { const void *data; int64_t n, c, h, w; } Strided;  // strides in elements
typedef struct { const int32_t *start, *channel, *tap, *source; } Lists;

// One of the two axes of a gather. Its pixel is a * out_step + phase - lead.
typedef struct { int64_t phases, in_step, out_step, lead, begin, end, low, high, in_size, out_size; } Axis;

typedef struct {
    Axis axis[2];
    int backward;
    int64_t batch, ins, outs, taps, width;  // all channels; of the kernel
    const Geometry *geometry;
} Gather;

typedef struct { int64_t lanes, width, band, segment, row, plane, size, blocks, bands; } Tile;
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

static int64_t rows_for(const Axis *axis, int64_t band) {
    return (band - 1) * axis->in_step + axis->high - axis->low + 1;
}

// Writes a vector, or writes it past the caches, which then need not read the line first.
INLINE void put(void *to, RAW raw, int past) {
#ifdef __AVX512F__
    if (past) return _mm512_stream_si512((__m512i *)to, (__m512i)raw);
#elif defined __AVX__
    if (past) return _mm256_stream_si256((__m256i *)to, (__m256i)raw);
#endif
    (void)past;
    *(RAW *)to = raw;
}

INLINE void wait_for_writes(void) {
#ifdef __AVX__
    _mm_sfence();
#endif
}

// Memory that a thread keeps from call to call, for to get it anew takes longer than a small layer; freed when it ends.
enum { PROGRAM_SLOT, TILE_SLOT, SUMS_SLOT, SLOTS, LARGE = 16 << 20 };
typedef struct { void *at; int64_t size; } Slot;
static _Thread_local Slot slots[SLOTS];
static pthread_key_t at_end;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void let_go(Slot *slot) {
    free(slot->at);
    *slot = (Slot){0};
}

static void let_all_go(void *own) {
    for (int i = 0; i < SLOTS; i++) let_go((Slot *)own + i);
}

static void make_key(void) { pthread_key_create(&at_end, let_all_go); }

static void *keep(int which, int64_t size) {
    Slot *slot = slots + which;
    if (slot->size >= size) return slot->at;
    let_go(slot);
    pthread_once(&once, make_key);
    pthread_setspecific(at_end, slots);
    int64_t unit = size < HUGE_PAGE / 2 ? 4096 : HUGE_PAGE, whole = (size + unit - 1) / unit * unit;
    slot->at = aligned_alloc(unit, whole);
    if (slot->at) slot->size = whole;
    if (slot->at && unit == HUGE_PAGE) madvise(slot->at, whole, MADV_HUGEPAGE);
    return slot->at;
}

#define NAME(name) name##_float
#define REAL float
#define CELL float
#include __FILE__
#define NAME(name) name##_bfloat16
#define REAL float
#define CELL uint16_t
#define HALF
#include __FILE__
#undef HALF
#define NAME(name) name##_double
#define REAL double
#define CELL double
#include __FILE__

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

#else  // what follows is compiled for each type

enum { NAME(LANES) = BYTES / sizeof(REAL), NAME(STRIP) = VECTORS * BYTES / sizeof(REAL) };
enum { NAME(RAWS) = 2 * NAME(LANES) * sizeof(CELL) / BYTES };
#define LANES NAME(LANES)
#define STRIP NAME(STRIP)
#define RAWS NAME(RAWS)  // vectors of storage for a pair of sums
#define VECTOR NAME(vector)
#define PAIR NAME(pair)
#define ENTRY NAME(entry)
#define PROGRAM NAME(program)
typedef REAL VECTOR __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
typedef struct { VECTOR of[2]; } PAIR;
typedef struct { REAL value; int32_t offset; } ENTRY;
typedef struct {
    Tile tile;
    ENTRY *entries;
    Run *runs;
    Phase *phases;
    int32_t *channels;   // in use
    int64_t used, made;  // how many channels and runs
} PROGRAM;

// 2 * LANES numbers. Those of bfloat16 at even places come first: each is the lower half of 32 bits.
INLINE PAIR NAME(split)(const RAW *raw) {
#ifdef HALF
    return (PAIR){{(VECTOR)(raw[0] << 16), (VECTOR)(raw[0] & (int32_t)0xffff0000)}};
#else
    return (PAIR){{(VECTOR)raw[0], (VECTOR)raw[1]}};
#endif
}

INLINE void NAME(save)(CELL *to, PAIR pair, int past) {
#if defined HALF && defined __AVX512BF16__
    __m512bh halves = _mm512_cvtne2ps_pbh((__m512)pair.of[1], (__m512)pair.of[0]);
    put(to, (RAW)_mm512_permutexvar_epi16(INTERLEAVED, (__m512i)halves), past);
#elif defined HALF  // to the nearest, ties to even; a NaN stays one
    RAW half[2];
    for (int i = 0; i < 2; i++) {
        RAW bits = (RAW)pair.of[i], nan = (RAW)(pair.of[i] != pair.of[i]);
        half[i] = ((bits + 0x7fff + ((bits >> 16) & 1)) & ~nan) | (0x7fc00000 & nan);
    }
    put(to, ((half[0] >> 16) & 0xffff) | (half[1] & (int32_t)0xffff0000), past);
#else
    put(to, (RAW)pair.of[0], past);
    put(to + LANES, (RAW)pair.of[1], past);
#endif
}

// Tiles of blocks of at least `lanes` images.
static Tile NAME(tiles)(const Gather *g, int64_t channels, int64_t lanes) {
    const Axis *y = &g->axis[0], *x = &g->axis[1];
    int64_t columns = MAX(1, x->end - x->begin), rows = MAX(1, y->end - y->begin);
    while (lanes * columns < STRIP && lanes < STRIP) lanes *= 2;
    if (g->batch < 2 * lanes) lanes = MIN(STRIP, MAX(1, g->batch));
    Tile t = {.lanes = lanes, .width = STRIP / lanes, .blocks = (g->batch + lanes - 1) / lanes};
    t.segment = (columns + (x->high - x->low) / x->in_step) * lanes;
    t.row = t.segment * x->in_step;
    int64_t fits = FAR / (int64_t)sizeof(CELL) / MAX(1, channels) / t.row;
    t.band = MIN(rows, MAX(1, (fits - (y->high - y->low) - 1) / y->in_step + 1));
    t.bands = (rows + t.band - 1) / t.band;
    t.band = (rows + t.bands - 1) / t.bands;
    int64_t line = LINE / sizeof(CELL);
    t.plane = ((rows_for(y, t.band) * t.row + line - 1) / line | 1) * line;  // odd: planes in other sets of the cache
    t.size = ((channels * t.plane + 2 * STRIP) * sizeof(CELL) + LINE - 1) / LINE * LINE;
    return t;
}

// Wide blocks, for whole lines are read one after the other; narrow ones where bands would else be so low that
// most of what is packed is packed for the band before, too.
static Tile NAME(shape)(const Gather *g, int64_t channels) {
    Tile wide = NAME(tiles)(g, channels, 4 * LANES);
    int64_t twice = g->axis[0].high - g->axis[0].low;
    return wide.bands == 1 || wide.band >= 2 * twice ? wide : NAME(tiles)(g, channels, 2 * LANES);
}

// Entries with their places in a tile. `rank` is a channel's number among those in use.
static void NAME(place)(const Gather *g, const Lists *lists, const REAL *values, const int32_t *rank, int64_t *tap,
                        PROGRAM *p) {
    const Axis *x = &g->axis[1];
    for (int64_t k = 0; k < g->taps; k++) {
        int64_t right = displacement(g, 1, k % g->width) - x->low;
        int64_t down = displacement(g, 0, k / g->width) - g->axis[0].low;
        tap[k] = down * p->tile.row + right % x->in_step * p->tile.segment + right / x->in_step * p->tile.lanes;
    }
    int64_t all = lists->start[g->axis[0].phases * x->phases * g->outs];
    for (int64_t k = 0; k < all; k++)
        p->entries[k].offset = rank[lists->channel[k]] * p->tile.plane + tap[lists->tap[k]];
    for (int64_t k = 0; k < all && values; k++) p->entries[k].value = values[lists->source ? lists->source[k] : k];
}

// Runs of a phase, by block of in channels (so that the rows of a block stay in the first cache) and out channel.
static void NAME(arrange)(const Gather *g, const Lists *lists, const int32_t *rank, int64_t f, int64_t block,
                          int64_t *next, PROGRAM *p) {
    const int32_t *start = lists->start + f * g->outs;
    for (int64_t o = 0; o < g->outs; o++) next[o] = start[o];
    for (int64_t from = 0; from == 0 || from < p->used; from += block)
        for (int64_t o = 0, live = -1; o < g->outs; o++) {
            int64_t begin = next[o], end = begin, stop = start[o + 1];
            if (from + block >= p->used) end = stop;
            else while (end < stop && rank[lists->channel[end]] < from + block) end++;
            live += stop > start[o];
            if (stop > start[o] ? begin == end : from > 0) continue;
            p->runs[p->made++] = (Run){o, MAX(0, live), begin, end, begin == start[o], end == stop};
            next[o] = end;
        }
}

static int NAME(prepare)(const Gather *g, const Lists *lists, const REAL *values, PROGRAM *p) {
    const Axis *y = &g->axis[0], *x = &g->axis[1];
    int64_t phases = y->phases * x->phases, all = lists->start[phases * g->outs];
    int64_t sizes[] = {phases * sizeof *p->phases, (g->taps + g->outs) * sizeof(int64_t), all * sizeof *p->entries,
                       (all + phases * g->outs) * sizeof *p->runs, 2 * g->ins * sizeof *p->channels};
    char *at = keep(PROGRAM_SLOT, sizes[0] + sizes[1] + sizes[2] + sizes[3] + sizes[4]);
    if (!at) return 1;
    *p = (PROGRAM){.phases = (Phase *)at, .entries = (ENTRY *)(at + sizes[0] + sizes[1])};
    int64_t *next = (int64_t *)(at + sizes[0]), *tap = next + g->outs;
    p->runs = (Run *)((char *)p->entries + sizes[2]);
    p->channels = (int32_t *)((char *)p->runs + sizes[3]);
    int32_t *rank = p->channels + g->ins;
    memset(rank, 0, g->ins * sizeof *rank);
    for (int64_t k = 0; k < all; k++) rank[lists->channel[k]] = 1;
    for (int64_t c = 0; c < g->ins; c++)
        if (rank[c]) { rank[c] = p->used; p->channels[p->used++] = c; }
    p->tile = NAME(shape)(g, p->used);
    NAME(place)(g, lists, values, rank, tap, p);
    int64_t columns = MIN(x->end - x->begin, p->tile.width);
    int64_t touched = (y->high - y->low + 1) * (columns + x->high - x->low) * p->tile.lanes * sizeof(CELL);
    for (int64_t f = 0; f < phases; f++) {
        Phase *phase = &p->phases[f];
        *phase = (Phase){.begin = p->made, .out = {f / x->phases - y->lead, f % x->phases - x->lead}};
        within(y, f / x->phases, phase->a);
        within(x, f % x->phases, phase->b);
        NAME(arrange)(g, lists, rank, f, MAX(1, NEAR / touched), next, p);
        phase->end = p->made;
    }
    return 0;
}

// One pixel of a tile: `count` images, then zeros.
INLINE void NAME(pack_cell)(CELL *cell, int64_t lanes, const Strided *in, int64_t at, int64_t count) {
    const CELL *from = (const CELL *)in->data + at;
    if (in->n == 1) memcpy(cell, from, count * sizeof(CELL));
    else for (int64_t n = 0; n < count; n++) cell[n] = from[n * in->n];
    memset(cell + count, 0, (lanes - count) * sizeof(CELL));
}

// `count` pixels that are there, `step` apart in the input.
INLINE void NAME(pack_cells)(CELL *to, const Tile *t, const Strided *in, int64_t at, int64_t step, int64_t pixels,
                             int64_t count) {
    const CELL *from = (const CELL *)in->data + at;
    int64_t bytes = t->lanes * sizeof(CELL);
#define COPY(size) for (int64_t i = 0; i < pixels; i++) memcpy(to + i * size / sizeof(CELL), from + i * step, size)
    if (in->n != 1 || count < t->lanes || (bytes != 64 && bytes != 128 && bytes != 256 && bytes != 512))
        for (int64_t i = 0; i < pixels; i++) NAME(pack_cell)(to + i * t->lanes, t->lanes, in, at + i * step, count);
    else if (bytes == 64) COPY(64);
    else if (bytes == 128) COPY(128);
    else if (bytes == 256) COPY(256);
    else COPY(512);
#undef COPY
}

static void NAME(pack_row)(CELL *to, const Tile *t, const Axis *x, const Strided *in, int64_t at, int64_t count) {
    int64_t wanted = t->segment / t->lanes;
    for (int64_t part = 0; part < x->in_step; part++, to += t->segment) {
        int64_t first = x->begin * x->in_step + x->low + part;  // column in the input
        int64_t from = MIN(wanted, MAX(0, -floor_div(first, x->in_step)));
        int64_t until = MAX(from, MIN(wanted, floor_div(x->in_size - 1 - first, x->in_step) + 1));
        memset(to, 0, from * t->lanes * sizeof(CELL));
        NAME(pack_cells)(to + from * t->lanes, t, in, at + (first + from * x->in_step) * in->w, x->in_step * in->w,
                         until - from, count);
        memset(to + until * t->lanes, 0, (wanted - until) * t->lanes * sizeof(CELL));
    }
}

// A tile of images from `image` on and rows for the results from row `a` on.
static void NAME(pack)(CELL *to, const Tile *t, const Gather *g, const Strided *in, const int32_t *channels,
                       int64_t used, int64_t image, int64_t a) {
    const Axis *y = &g->axis[0];
    int64_t count = MIN(t->lanes, g->batch - image), rows = rows_for(y, t->band);
    for (int64_t c = 0; c < used; c++)
        for (int64_t row = 0; row < rows; row++) {
            int64_t from = a * y->in_step + y->low + row;
            CELL *line = to + c * t->plane + row * t->row;
            if (from < 0 || from >= y->in_size) memset(line, 0, t->row * sizeof(CELL));
            else {
                int64_t at = image * in->n + channels[c] * in->c + from * in->h;
                NAME(pack_row)(line, t, &g->axis[1], in, at, count);
            }
        }
}

// Where the sums of a strip go: its pixels are `step` apart, and `count` numbers of each are wanted.
typedef struct { int64_t step, count, lanes, columns, place[PAIRS]; int whole, past; } NAME(goal);

INLINE void NAME(store)(CELL *out, const NAME(goal) *goal, const PAIR *sums, int pairs) {
    if (goal->past)
        for (int i = 0; i < pairs; i++) NAME(save)(out + goal->place[i], sums[i], 1);
    else if (goal->whole)
        for (int i = 0; i < pairs; i++) NAME(save)(out + goal->place[i], sums[i], 0);
    else {
        CELL strip[STRIP];
        for (int i = 0; i < pairs; i++) NAME(save)(strip + i * 2 * LANES, sums[i], 0);
        for (int64_t i = 0; i < goal->columns; i++)
            memcpy(out + i * goal->step, strip + i * goal->lanes, goal->count * sizeof(CELL));
    }
}

INLINE void NAME(multiply_strip)(const PROGRAM *p, const Phase *phase, const CELL *strip, const REAL *bias,
                                 PAIR *partial, CELL *out, int64_t channel, const NAME(goal) *goal, int pairs) {
    for (const Run *run = p->runs + phase->begin; run < p->runs + phase->end; run++) {
        PAIR sum[PAIRS], *kept = partial + run->out * PAIRS;
        VECTOR zero = (VECTOR){0} + (bias ? bias[run->out] : 0);
        for (int i = 0; i < pairs; i++) sum[i] = run->first ? (PAIR){{zero, zero}} : kept[i];
        for (const ENTRY *entry = p->entries + run->begin; entry < p->entries + run->end; entry++)
            for (int i = 0; i < pairs; i++) {
                PAIR x = NAME(split)((const RAW *)(strip + entry->offset + i * 2 * LANES));
                sum[i].of[0] += entry->value * x.of[0];
                sum[i].of[1] += entry->value * x.of[1];
            }
        if (run->last) NAME(store)(out + run->out * channel, goal, sum, pairs);
        else for (int i = 0; i < pairs; i++) kept[i] = sum[i];
    }
}

static void NAME(multiply_tile)(const Gather *g, const PROGRAM *p, const CELL *tile, const REAL *bias, PAIR *partial,
                                CELL *out, int64_t image, int64_t a0) {
    const Tile *t = &p->tile;
    const Axis *y = &g->axis[0], *x = &g->axis[1];
    int64_t count = MIN(t->lanes, g->batch - image), channel = y->out_size * x->out_size * g->batch;
    NAME(goal) goal = {.step = x->out_step * g->batch, .count = count, .lanes = t->lanes};
    goal.whole = count == t->lanes && t->lanes % (2 * LANES) == 0;
    goal.past = goal.whole && g->batch * sizeof(CELL) % LINE == 0 && (intptr_t)out % LINE == 0
                && channel * g->outs * (int64_t)sizeof(CELL) > 2 * FAR;
    for (int64_t i = 0; i < PAIRS; i++)
        goal.place[i] = i * 2 * LANES / t->lanes * goal.step + i * 2 * LANES % t->lanes;
    for (const Phase *phase = p->phases; phase < p->phases + y->phases * x->phases; phase++)
        for (int64_t a = MAX(a0, phase->a[0]); a < MIN(a0 + t->band, phase->a[1]); a++)
            for (int64_t b = phase->b[0]; b < phase->b[1]; b += t->width) {
                goal.columns = MIN(t->width, phase->b[1] - b);
                const CELL *strip = tile + (a - a0) * y->in_step * t->row + (b - x->begin) * t->lanes;
                int64_t row = a * y->out_step + phase->out[0], column = b * x->out_step + phase->out[1];
                CELL *to = out + (row * x->out_size + column) * g->batch + image;
                ON_PAIRS((goal.columns * t->lanes + 2 * LANES - 1) / (2 * LANES), NAME(multiply_strip), p, phase,
                         strip, bias, partial, to, channel, &goal)
            }
}

static int NAME(gather)(const Gather *g, const Strided *in, const Lists *lists, const REAL *values, const REAL *bias,
                        CELL *out, int64_t threads) {
    PROGRAM p;
    if (NAME(prepare)(g, lists, values, &p)) return 1;
    int64_t items = p.tile.blocks * p.tile.bands;
    int failed = 0;
    ON_THREADS {
        char *own = keep(TILE_SLOT, p.tile.size + g->outs * PAIRS * sizeof(PAIR));
        if (!own) failed = 1;
        for (int64_t item = items * thread / threads; item < items * (thread + 1) / threads && own; item++) {
            int64_t image = item / p.tile.bands * p.tile.lanes;
            int64_t a = g->axis[0].begin + item % p.tile.bands * p.tile.band;
            NAME(pack)((CELL *)own, &p.tile, g, in, p.channels, p.used, image, a);
            NAME(multiply_tile)(g, &p, (CELL *)own, bias, (PAIR *)(own + p.tile.size), out, image, a);
        }
        wait_for_writes();
    }
    return failed;
}

// A gradient, [channels, rows, strips, STRIP]: each strip ends in zeros.
static void NAME(pack_gradient)(CELL *to, const Gather *g, const Tile *t, const Strided *in, const Lists *lists,
                                int64_t image, int64_t a0) {
    int64_t count = MIN(t->lanes, g->batch - image), columns = g->axis[1].end;
    int64_t last = MIN(a0 + t->band, g->axis[0].end);
    for (int64_t o = 0; o < g->outs; o++) {
        if (lists->start[o] == lists->start[o + 1]) continue;
        for (int64_t a = a0; a < last; a++)
            for (int64_t b = 0; b < columns; b += t->width, to += STRIP) {
                int64_t pixels = MIN(t->width, columns - b), at = image * in->n + o * in->c + a * in->h + b * in->w;
                NAME(pack_cells)(to, t, in, at, in->w, pixels, count);
                memset(to + pixels * t->lanes, 0, (STRIP - pixels * t->lanes) * sizeof(CELL));
            }
    }
}

#if defined HALF && defined __AVX512BF16__  // two products at once; a sum over the batch may take them in any order
typedef __m512bh NAME(held);
INLINE NAME(held) NAME(hold)(const RAW *raw) { return (__m512bh)raw[0]; }
INLINE void NAME(add_products)(VECTOR *sum, int i, const RAW *x, NAME(held) slope) {
    sum[i % 2] = (VECTOR)_mm512_dpbf16_ps((__m512)sum[i % 2], (__m512bh)x[0], slope);
}
#else
typedef PAIR NAME(held);
INLINE NAME(held) NAME(hold)(const RAW *raw) { return NAME(split)(raw); }
INLINE void NAME(add_products)(VECTOR *sum, int i, const RAW *x, NAME(held) slope) {
    (void)i;
    PAIR pair = NAME(split)(x);
    for (int half = 0; half < 2; half++) sum[half] += pair.of[half] * slope.of[half];
}
#endif

// Adds the products of a strip to the partial sums of a run. Numbers beyond the strip are masked: zero times an
// infinity would be none.
INLINE void NAME(correlate)(VECTOR *sums, const ENTRY *entry, const ENTRY *end, const CELL *strip, const CELL *slopes,
                            const RAW *mask, int pairs) {
    NAME(held) slope[PAIRS];
    for (int i = 0; i < pairs; i++) slope[i] = NAME(hold)((const RAW *)(slopes + i * 2 * LANES));
    for (; entry < end; entry++, sums++) {
        VECTOR sum[2] = {*sums, {0}};
        for (int i = 0; i < pairs; i++) {
            const RAW *x = (const RAW *)(strip + entry->offset + i * 2 * LANES);
            RAW masked[RAWS];
            for (int j = 0; j < RAWS && mask && i == pairs - 1; j++) masked[j] = x[j] & mask[j];
            NAME(add_products)(sum, i, mask && i == pairs - 1 ? masked : x, slope[i]);
        }
        *sums = sum[0] + sum[1];
    }
}

INLINE void NAME(correlate_strip)(const PROGRAM *p, const Run *run, const Run *last, const CELL *strip,
                                  const CELL *slopes, int64_t plane, VECTOR *sums, int64_t length, int pairs) {
    int64_t over = length - (pairs - 1) * 2 * LANES;
    RAW mask[RAWS];
    memset(mask, 0, sizeof mask);
    memset(mask, 0xff, over * sizeof(CELL));
    for (; run < last; run++) {
        const ENTRY *entry = p->entries + run->begin, *end = p->entries + run->end;
        const CELL *own = slopes + run->rank * plane;
        if (over == 2 * LANES) NAME(correlate)(sums + run->begin, entry, end, strip, own, 0, pairs);
        else NAME(correlate)(sums + run->begin, entry, end, strip, own, mask, pairs);
    }
}

static void NAME(correlate_tile)(const Gather *g, const PROGRAM *p, const CELL *tile, const CELL *slopes, VECTOR *sums,
                                 int64_t a0) {
    const Tile *t = &p->tile;
    int64_t columns = g->axis[1].end, strips = (columns + t->width - 1) / t->width;
    int64_t rows = MIN(t->band, g->axis[0].end - a0);
    // By groups of runs: their sums stay in the first caches for the whole tile.
    for (const Run *run = p->runs, *last = run, *end = run + p->made; run < end; run = last) {
        for (int64_t entries = 0; last < end && entries < TOGETHER; last++) entries += last->end - last->begin;
        for (int64_t a = 0; a < rows; a++)
            for (int64_t s = 0; s < strips; s++) {
                const CELL *strip = tile + a * g->axis[0].in_step * t->row + s * t->width * t->lanes;
                int64_t length = MIN(t->width, columns - s * t->width) * t->lanes;
                ON_PAIRS((length + 2 * LANES - 1) / (2 * LANES), NAME(correlate_strip), p, run, last, strip,
                         slopes + (a * strips + s) * STRIP, rows * strips * STRIP, sums, length)
            }
    }
}

INLINE REAL NAME(total)(VECTOR sum) {
    REAL part[LANES];
    memcpy(part, &sum, sizeof part);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) part[i] += part[i + half];
    return part[0];
}

static int NAME(values)(const Gather *g, const Strided *x, const Strided *gradient, const Lists *lists, REAL *out,
                        int64_t threads) {
    PROGRAM p;
    if (NAME(prepare)(g, lists, 0, &p)) return 1;
    const Tile *t = &p.tile;
    int64_t all = lists->start[g->outs], items = t->blocks * t->bands;
    int64_t slopes = g->outs * t->band * ((g->axis[1].end + t->width - 1) / t->width) * STRIP * sizeof(CELL);
    VECTOR *sums = keep(SUMS_SLOT, (threads * all + 1) * sizeof *sums);
    int failed = sums == 0;
    if (sums) ON_THREADS {
        char *own = keep(TILE_SLOT, t->size + slopes);
        if (!own) failed = 1;
        memset(sums + thread * all, 0, all * sizeof *sums);
        for (int64_t item = items * thread / threads; item < items * (thread + 1) / threads && own; item++) {
            int64_t image = item / t->bands * t->lanes, a = item % t->bands * t->band;
            NAME(pack)((CELL *)own, t, g, x, p.channels, p.used, image, a);
            NAME(pack_gradient)((CELL *)(own + t->size), g, t, gradient, lists, image, a);
            NAME(correlate_tile)(g, &p, (CELL *)own, (CELL *)(own + t->size), sums + thread * all, a);
        }
    }
    if (!failed) ON_THREADS
        for (int64_t k = all * thread / threads; k < all * (thread + 1) / threads; k++) {
            VECTOR sum = sums[k];
            for (int64_t other = 1; other < threads; other++) sum += sums[other * all + k];
            out[k] = NAME(total)(sum);
        }
    if (slots[SUMS_SLOT].size > LARGE) let_go(slots + SUMS_SLOT);
    return failed;
}

#undef LANES
#undef STRIP
#undef RAWS
#undef VECTOR
#undef PAIR
#undef ENTRY
#undef PROGRAM
#undef NAME
#undef REAL
#undef CELL
#endif
