/* tile_template.h - the tile of a matrix product and the peak that it is measured by, for the vectors of
 * kernels_template.h. Included once for each precision, with
 *
 *   TILE, TILE_ROWS, TILE_STEP, SPIN   names of what is defined here
 *   DOT(a, b, c)                       a * b + c of vectors of words as panels have them
 *   DOT_OPERATIONS                     floating-point operations of that, a word
 */

static inline __attribute__((always_inline)) void TILE_STEP(size_t rows, const float *a, const float *b, vf sum[MR][NV])
{
    vf right[NV];
    for (size_t j = 0; j < NV; j++) right[j] = LOAD(b + j * W);
    for (size_t i = 0; i < rows; i++) {
        vf left = SPREAD(a + i);
        for (size_t j = 0; j < NV; j++) sum[i][j] = DOT(left, right[j], sum[i][j]);
    }
}

static inline __attribute__((always_inline)) void TILE_ROWS(size_t rows, size_t words, const float *a, const float *b,
                                                            float *c, size_t ldc, bool add, fm_ahead next)
{
    vf sum[MR][NV];
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < NV; j++) sum[i][j] = SET1(0.0f);
#ifdef STEPS_APART
    for (size_t i = 0; i < next.lines; i++) FETCH(next.from + 16 * i);
    for (; words > 0; words -= 4, b += 4 * NR) {
        TILE_STEP(rows, a, b, sum);
        if (words == 1) break;
        NEXT(a, MR);
        TILE_STEP(rows, a, b + NR, sum);
        if (words == 2) break;
        NEXT(a, MR);
        TILE_STEP(rows, a, b + 2 * NR, sum);
        if (words == 3) break;
        NEXT(a, MR);
        TILE_STEP(rows, a, b + 3 * NR, sum);
        NEXT(a, MR);
    }
#else
    for (size_t part = 0, l = 0, line = 0; part < rows; part++) {
        for (size_t j = 0; j < NR; j += 16) __builtin_prefetch(c + part * ldc + j, 1);
        for (size_t end = next.lines * (part + 1) / rows; line < end; line++) FETCH(next.from + 16 * line);
        for (size_t end = words * (part + 1) / rows; l < end; l++) TILE_STEP(rows, a + l * MR, b + l * NR, sum);
    }
#endif
    _Pragma("GCC unroll 16") for (size_t i = 0; i < rows; i++) _Pragma("GCC unroll 4") for (size_t j = 0; j < NV; j++)
    {
        float *to = c + i * ldc + j * W;
        STORE(to, add ? ADD(LOAD(to), sum[i][j]) : sum[i][j]);
    }
}

/* The row counts that occur are compiled apart, so that the sums stay in registers. Each row's arithmetic is the same
 * in all of them. */
static void TILE(size_t rows, size_t words, const float *a, const float *b, float *c, size_t ldc, bool add,
                 fm_ahead next)
{
    if (rows == MR) TILE_ROWS(MR, words, a, b, c, ldc, add, next);
    else if (rows == 1) TILE_ROWS(1, words, a, b, c, ldc, add, next);
    else if (rows == 2) TILE_ROWS(2, words, a, b, c, ldc, add, next);
    else {
        float whole[MR * NR];
        TILE_ROWS(MR, words, a, b, whole, NR, false, next);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < NV; j++) {
                float *to = c + i * ldc + j * W;
                vf sum = LOAD(whole + i * NR + j * W);
                STORE(to, add ? ADD(LOAD(to), sum) : sum);
            }
    }
}

/* As many sums as the tile keeps in registers; in two loops, both short enough for compilers to unroll. */
static double SPIN(size_t rounds, float *sink)
{
    vf sum[MR][NV], left = SET1(0.5f), right = SET1(0.001f);
    for (size_t i = 0; i < MR; i++)
        for (size_t j = 0; j < NV; j++) sum[i][j] = SET1((float)(i * NV + j));
    for (size_t round = 0; round < rounds; round++)
        for (size_t i = 0; i < MR; i++)
            for (size_t j = 0; j < NV; j++) sum[i][j] = DOT(left, right, sum[i][j]);
    for (size_t i = 0; i < MR; i++)
        for (size_t j = 0; j < NV; j++) *sink += sum_of(sum[i][j]);
    return (double)DOT_OPERATIONS * W * MR * NV * (double)rounds;
}

#undef TILE
#undef TILE_ROWS
#undef TILE_STEP
#undef SPIN
#undef DOT
#undef DOT_OPERATIONS
