// Vectors of one type, and tiles: their shape, where kept weights find their numbers in them, and how they are packed.

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

static int64_t NAME(columns)(const Gather *g) { return MAX(1, g->axis[1].end - g->axis[1].begin); }

// Images of a block: at least `lanes`, and enough to fill a strip; all images where there are not many more.
static int64_t NAME(enough)(const Gather *g, int64_t lanes) {
    while (lanes * NAME(columns)(g) < STRIP && lanes < STRIP) lanes *= 2;
    return g->batch < 2 * lanes ? MIN(STRIP, MAX(1, g->batch)) : lanes;
}

// Tiles of blocks of `lanes` images.
static Tile NAME(tiles)(const Gather *g, int64_t channels, int64_t lanes) {
    const Axis *y = &g->axis[0], *x = &g->axis[1];
    int64_t columns = NAME(columns)(g), rows = MAX(1, y->end - y->begin);
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
// most of what is packed is packed for the band before, too, or where a tile would be too large. `beside`: channels of
// the results, where those are packed as well.
static Tile NAME(shape)(const Gather *g, int64_t channels, int64_t beside) {
    Tile t = NAME(tiles)(g, channels, NAME(enough)(g, 4 * LANES));
    int64_t twice = g->axis[0].high - g->axis[0].low, bytes = (channels + beside) * sizeof(CELL);
    if (t.bands > 1 && t.band < 2 * twice) t = NAME(tiles)(g, channels, NAME(enough)(g, 2 * LANES));
    while (t.plane * bytes > MOST && t.lanes > 1) t = NAME(tiles)(g, channels, t.lanes / 2);
    return t;
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
    p->tile = NAME(shape)(g, p->used, values ? 0 : g->outs);
    if (p->tile.size > INT32_MAX) return 1;
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
