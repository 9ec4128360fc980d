// The forward operation, and the gradient of the input.

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
