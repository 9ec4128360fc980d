// The gradient of the kept weights.

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
