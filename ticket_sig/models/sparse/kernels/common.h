// What all types of storage share: how a convolution is a gather, and the memory that threads keep.
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
// MOST: bytes of a thread's tile, which holds whole rows, however wide.
enum { PAIRS = 4, VECTORS = 2 * PAIRS, FAR = 3 << 19, NEAR = 32 << 10, LINE = 64, TOGETHER = 512, HUGE_PAGE = 2 << 20 };
enum { MOST = 256 << 20 };
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

// Memory that a thread keeps from call to call, because allocating it again takes longer than computing a small
// layer; freed when it ends.
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
