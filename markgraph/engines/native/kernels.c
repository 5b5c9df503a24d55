/* A Llama-kind model in its int8 form, in plain C that compilers turn into vector instructions.
 *
 * kernels.py compiles this for the machine that it runs on. Results of a row depend on that row alone:
 * how many rows there are, and how many threads, changes nothing. Shapes: m rows (tokens), d hidden,
 * h heads, g key-value heads, e head size, f inner size, v vocabulary; matrices lie row by row.
 *
 * Static functions with a `#pragma omp for` are called by all threads of a parallel region, which share
 * its rounds.
 */
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define SPREAD 16 /* order of the Hadamard matrix, as in linear.py */
#define ZERO 128  /* what stands for 0 in unsigned bytes */
#define TOKENS 64 /* keys that one thread meets at a time; kernels.py knows it too */
#define LANES 16  /* floats in a vector */
#define LARGEST 128 /* head size */
#define TOGETHER 4 /* queries that meet a fetched key together */
#define QUERIES 64 /* that meet a run of keys together */
#define LOWEST -1e30f

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));

typedef struct {
    const int8_t *q;       /* (n, k), in blocks as `product` wants them */
    const float *scale;    /* (n) */
    const int32_t *offset; /* (n): ZERO times the sum of each row */
    int64_t n, k;
} Matrix;

typedef struct {
    const float *attention_norm, *mlp_norm; /* (d) */
    const float *bias;                      /* ((h + 2g) e) or NULL */
    const float *q_norm, *k_norm;           /* (e) or NULL */
    Matrix qkv, out, gate_up, down;
} Layer;

typedef struct {
    int64_t layers, d, heads, kv_heads, head_dim, f;
    float eps;
    const Layer *layer;
    const uint16_t *embedding; /* bfloat16 (v, d) */
    const float *norm;         /* (d) */
    const float *cos, *sin;    /* (window, e) */
    Matrix head;
} Model;

typedef struct {
    int64_t m, threads;
    int64_t wanted;          /* rows at the end whose logits are asked for */
    const int64_t *ids;      /* (m): tokens */
    const int64_t *first;    /* (m): first slot of the row's sequence */
    const int64_t *seen;     /* (m): tokens that the row attends to; the last is its own */
    const int64_t *parts;    /* (m): runs of TOKENS keys up to and with this row */
    uint16_t *keys, *values; /* bfloat16 (layers, slots, g, e) */
    int64_t slots;
    float *x;     /* (m, d): the residual stream */
    float *y;     /* (m, widest product) */
    float *mixed; /* (m, h e) */
    float *part;  /* (parts, h, e + 2): weighted values, their largest score, the sum of their weights */
    uint8_t *a;   /* (m, widest input) */
    float *s;     /* (m): scales of a */
} Rows;

static inline float widen(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint16_t narrow(float x) { /* to the nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float exponential(float x) { /* relative error 2e-7 */
    x = fminf(fmaxf(x, -87.0f), 88.0f);
    float n = rintf(x * 1.44269504f), r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1 + r * (1 + r * (1 / 2.0f + r * (1 / 6.0f + r * (1 / 24.0f + r * (1 / 120.0f + r / 720)))));
    int32_t bits;
    memcpy(&bits, &p, sizeof bits);
    bits += (int32_t)n << 23;
    memcpy(&p, &bits, sizeof p);
    return p;
}

/* Turn the row x (k) by the Hadamard matrix, and write it as bytes a (k) with one scale. */
static void quantise(float *x, int64_t k, uint8_t *a, float *s) {
    int64_t w = k / SPREAD;
    for (int span = SPREAD / 2; span; span /= 2)
        for (int i = 0; i < SPREAD; i++) {
            if (i & span) continue;
            float *restrict u = x + i * w, *restrict v = x + (i + span) * w;
            for (int64_t j = 0; j < w; j++) {
                float sum = u[j] + v[j];
                v[j] = u[j] - v[j];
                u[j] = sum;
            }
        }
    float most = 0;
    for (int64_t i = 0; i < k; i++) most = fmaxf(most, fabsf(x[i]));
    float scale = fmaxf(most / 4, 1e-10f) / 127, inverse = 1 / (4 * scale);
    for (int64_t i = 0; i < k; i++) a[i] = (uint8_t)((int32_t)rintf(x[i] * inverse) + ZERO);
    *s = scale;
}

static float inverse_rms(const float *x, int64_t n, float eps) {
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return 1 / sqrtf(sum / n + eps);
}

#ifdef __AVX512VNNI__
/* Weights lie in blocks of BLOCK outputs: (n / BLOCK, k / 4, BLOCK, 4), n rounded up to a whole block. */
#define BLOCK 32
#define AT_ONCE 6 /* rows of input: as many sums as registers hold */

/* Multiply `rows` rows of bytes by a block of weights; `next`, where there is one, is on its way meanwhile. */
static inline __attribute__((always_inline)) void block(const Matrix *w, int64_t at, const uint8_t *a, float *y,
                                                        const int rows, const int8_t *next) {
    const int8_t *q = w->q + at * w->k;
    int64_t n = w->n, k = w->k;
    __m512i s[AT_ONCE][2];
    for (int row = 0; row < rows; row++) s[row][0] = s[row][1] = _mm512_setzero_si512();
    for (int64_t i = 0; i < k; i += 4) {
        __m512i left = _mm512_loadu_si512(q + i * BLOCK), right = _mm512_loadu_si512(q + i * BLOCK + 64);
        if (next) __builtin_prefetch(next + i * BLOCK), __builtin_prefetch(next + i * BLOCK + 64);
        for (int row = 0; row < rows; row++) {
            int32_t four;
            memcpy(&four, a + row * k + i, sizeof four);
            __m512i all = _mm512_set1_epi32(four);
            s[row][0] = _mm512_dpbusd_epi32(s[row][0], all, left);
            s[row][1] = _mm512_dpbusd_epi32(s[row][1], all, right);
        }
    }
    for (int half = 0; half < 2; half++) {
        int64_t from = at + half * LANES, count = n - from;
        if (count <= 0) break;
        __mmask16 there = count < LANES ? (1 << count) - 1 : 0xffff;
        __m512i offset = _mm512_maskz_loadu_epi32(there, w->offset + from);
        __m512 scale = _mm512_maskz_loadu_ps(there, w->scale + from);
        for (int row = 0; row < rows; row++) {
            __m512 found = _mm512_cvtepi32_ps(_mm512_sub_epi32(s[row][half], offset));
            _mm512_mask_storeu_ps(y + row * n + from, there, _mm512_mul_ps(found, scale));
        }
    }
}

/* Multiply bytes a (m, k) by a matrix, to y (m, n), still to be scaled by what the bytes were. */
static void product(const Matrix *w, int64_t m, const uint8_t *a, float *y) {
    int64_t n = w->n, k = w->k;
#pragma omp for schedule(static)
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int8_t *next = w->q + (at + BLOCK) * k;
        for (int64_t row = 0; row < m; row += AT_ONCE, next = NULL) {
            const uint8_t *b = a + row * k;
            float *to = y + row * n;
            switch (m - row) {
            case 1: block(w, at, b, to, 1, next); break;
            case 2: block(w, at, b, to, 2, next); break;
            case 3: block(w, at, b, to, 3, next); break;
            case 4: block(w, at, b, to, 4, next); break;
            case 5: block(w, at, b, to, 5, next); break;
            default: block(w, at, b, to, AT_ONCE, next);
            }
        }
    }
}
#else
#define BLOCK 1 /* weights lie row by row */

static void product(const Matrix *w, int64_t m, const uint8_t *a, float *y) {
    int64_t n = w->n, k = w->k;
#pragma omp for schedule(static)
    for (int64_t at = 0; at < n; at++) {
        const int8_t *restrict q = w->q + at * k;
        for (int64_t row = 0; row < m; row++) {
            const uint8_t *restrict b = a + row * k;
            int32_t sum = 0;
            for (int64_t i = 0; i < k; i++) sum += b[i] * q[i];
            y[row * n + at] = (float)(sum - w->offset[at]) * w->scale[at];
        }
    }
}
#endif

const int64_t mark_block = BLOCK; /* outputs whose weights lie together */

static void embed(const Model *model, const Rows *rows) {
    int64_t d = model->d;
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows->m; row++)
        for (int64_t i = 0; i < d; i++) rows->x[row * d + i] = widen(model->embedding[rows->ids[row] * d + i]);
}

/* Add y (m, d), scaled by s, to x unless this is the `start`, and prepare the norm of that; y is used up. */
static void enter(const Model *model, const Rows *rows, float *y, int start, const float *gain) {
    int64_t d = model->d;
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows->m; row++) {
        float *restrict x = rows->x + row * d, *restrict h = y + row * d, s = rows->s[row];
        if (!start)
            for (int64_t i = 0; i < d; i++) x[i] += h[i] * s;
        float r = inverse_rms(x, d, model->eps);
        for (int64_t i = 0; i < d; i++) h[i] = x[i] * r * gain[i];
        quantise(h, d, rows->a + row * d, rows->s + row);
    }
}

static void turn(float *x, int64_t e, const float *norm, float eps, const float *cos, const float *sin) {
    if (norm) {
        float r = inverse_rms(x, e, eps);
        for (int64_t i = 0; i < e; i++) x[i] *= r * norm[i];
    }
    for (int64_t i = 0; i < e / 2; i++) {
        float u = x[i], v = x[i + e / 2];
        x[i] = u * cos[i] - v * sin[i];
        x[i + e / 2] = v * cos[i + e / 2] + u * sin[i + e / 2];
    }
}

/* Turn queries and keys in y (m, (h + 2g) e) by their positions; keys and values go to their slots. */
static void place(const Model *model, const Rows *rows, int64_t at, float *y) {
    const Layer *layer = model->layer + at;
    int64_t e = model->head_dim, h = model->heads, g = model->kv_heads, width = (h + 2 * g) * e;
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows->m; row++) {
        float *q = y + row * width, *k = q + h * e, *v = k + g * e, s = rows->s[row];
        int64_t position = rows->seen[row] - 1, slot = at * rows->slots + rows->first[row] + position;
        const float *cos = model->cos + position * e, *sin = model->sin + position * e;
        for (int64_t i = 0; i < width; i++) q[i] *= s;
        if (layer->bias)
            for (int64_t i = 0; i < width; i++) q[i] += layer->bias[i];
        for (int64_t i = 0; i < h; i++) turn(q + i * e, e, layer->q_norm, model->eps, cos, sin);
        for (int64_t i = 0; i < g; i++) turn(k + i * e, e, layer->k_norm, model->eps, cos, sin);
        uint16_t *restrict keys = rows->keys + slot * g * e, *restrict values = rows->values + slot * g * e;
        for (int64_t i = 0; i < g * e; i++) keys[i] = narrow(k[i]), values[i] = narrow(v[i]);
    }
}

/* Two neighbouring bfloat16s are read as one word: its low half is the even one of them. */
static inline Words words(const uint16_t *p) {
    Words w;
    memcpy(&w, p, sizeof w);
    return w;
}
static inline Floats even(Words w) { return (Floats)(w << 16); }
static inline Floats odd(Words w) { return (Floats)(w & 0xffff0000); }
static inline float total(Floats v) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += v[i];
    return sum;
}

/* Return the total of each of LANES vectors. */
static inline Floats totals(const Floats v[LANES]) {
#ifdef __AVX512F__
    __m512 pairs[8], fours[4]; /* of neighbours, then of four: each quarter still has its own totals */
    for (int i = 0; i < 8; i++) {
        __m512 a = (__m512)v[2 * i], b = (__m512)v[2 * i + 1];
        pairs[i] = _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b);
    }
    for (int i = 0; i < 4; i++) {
        __m512d a = (__m512d)pairs[2 * i], b = (__m512d)pairs[2 * i + 1];
        fours[i] = (__m512)_mm512_unpacklo_pd(a, b) + (__m512)_mm512_unpackhi_pd(a, b);
    }
#define ADD_QUARTERS(a, b) (_mm512_shuffle_f32x4(a, b, 0x88) + _mm512_shuffle_f32x4(a, b, 0xdd))
    __m512 first = ADD_QUARTERS(fours[0], fours[1]), second = ADD_QUARTERS(fours[2], fours[3]);
    return (Floats)ADD_QUARTERS(first, second);
#else
    Floats sums;
    for (int i = 0; i < LANES; i++) sums[i] = total(v[i]);
    return sums;
#endif
}

/* Weigh `tokens` values by how queries q (count, e) score their keys, each `stride` after the last.
 *
 * What will be weighed `next`, so far behind them, is fetched meanwhile: waiting for it would take most of the time. */
static inline __attribute__((always_inline)) void weigh(const float *q, const uint16_t *keys, const uint16_t *values,
                                                        int64_t tokens, int64_t stride, int64_t next, const int64_t e,
                                                        const int count, float *part) {
    Floats query[TOGETHER][LARGEST / LANES], found[TOGETHER][LARGEST / LANES], dots[TOGETHER][LANES];
    float p[TOGETHER][TOKENS], root = 1 / sqrtf(e);
    for (int head = 0; head < count; head++)
        for (int64_t c = 0; c < e / LANES; c++) {
            for (int i = 0; i < LANES; i++) query[head][c][i] = q[head * e + c / 2 * 2 * LANES + 2 * i + c % 2] * root;
            found[head][c] = (Floats){0};
        }
    for (int64_t t = 0; t < tokens; t += LANES) {
        int64_t left = tokens - t < LANES ? tokens - t : LANES;
        for (int64_t i = 0; i < left; i++) {
            Floats dot[TOGETHER] = {{0}};
            for (int64_t c = 0; c < e / LANES; c += 2) {
                const uint16_t *key = keys + (t + i) * stride + c * LANES;
                __builtin_prefetch(key + next);
                Words w = words(key);
                for (int head = 0; head < count; head++)
                    dot[head] += query[head][c] * even(w) + query[head][c + 1] * odd(w);
            }
            for (int head = 0; head < count; head++) dots[head][i] = dot[head];
        }
        for (int head = 0; head < count; head++) {
            for (int64_t i = left; i < LANES; i++) dots[head][i] = (Floats){0};
            Floats sums = totals(dots[head]);
            memcpy(p[head] + t, &sums, sizeof sums);
        }
    }
    for (int head = 0; head < count; head++) {
        float most = LOWEST, sum = 0;
        for (int64_t t = 0; t < tokens; t++) most = fmaxf(most, p[head][t]);
        for (int64_t t = 0; t < tokens; t++) sum += p[head][t] = exponential(p[head][t] - most);
        part[head * (e + 2) + e] = most, part[head * (e + 2) + e + 1] = sum;
    }
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = 0; c < e / LANES; c += 2) {
            const uint16_t *value = values + t * stride + c * LANES;
            __builtin_prefetch(value + next);
            Words w = words(value);
            for (int head = 0; head < count; head++) {
                found[head][c] += p[head][t] * even(w);
                found[head][c + 1] += p[head][t] * odd(w);
            }
        }
    for (int head = 0; head < count; head++)
        for (int64_t c = 0; c < e / LANES; c++)
            for (int i = 0; i < LANES; i++) part[head * (e + 2) + c / 2 * 2 * LANES + 2 * i + c % 2] = found[head][c][i];
}

/* The same for all queries of a key-value head, as many at a time as registers hold. */
static void weigh_all(const float *q, const uint16_t *keys, const uint16_t *values, int64_t tokens, int64_t stride,
                      int64_t next, int64_t e, int64_t count, float *part) {
#define WEIGH(e, count) weigh(q, keys, values, tokens, stride, next, e, count, part)
    for (int64_t some; count; count -= some, q += some * e, part += some * (e + 2)) {
        int64_t most = e == 64 ? TOGETHER : e == 128 ? 2 : 1;
        some = count < most ? count : most;
        if (e == 64 && some == 4) WEIGH(64, 4);
        else if (e == 64 && some == 3) WEIGH(64, 3);
        else if (e == 64 && some == 2) WEIGH(64, 2);
        else if (e == 64) WEIGH(64, 1);
        else if (e == 128 && some == 2) WEIGH(128, 2);
        else if (e == 128) WEIGH(128, 1);
        else WEIGH(e, 1);
    }
}

typedef struct {
    int64_t row, slot, tokens;
} Run;

/* Return the run of keys number i, counted over all rows, in a layer. */
static inline Run run(const Rows *rows, int64_t at, int64_t i) {
    Run r = {0};
    while (rows->parts[r.row] <= i) r.row++;
    int64_t from = (i - (r.row ? rows->parts[r.row - 1] : 0)) * TOKENS, left = rows->seen[r.row] - from;
    r.slot = at * rows->slots + rows->first[r.row] + from;
    r.tokens = left < TOKENS ? left : TOKENS;
    return r;
}

/* Attend to each run of keys on its own (Dao et al. 2023), so that threads share one long sequence. */
static void attend(const Model *model, const Rows *rows, int64_t at, const float *y) {
    int64_t e = model->head_dim, h = model->heads, g = model->kv_heads, runs = rows->parts[rows->m - 1];
#pragma omp for schedule(static)
    for (int64_t i = 0; i < runs; i++) {
        Run here = run(rows, at, i), after = i + 1 < runs ? run(rows, at, i + 1) : here;
        for (int64_t head = 0; head < g; head++) {
            int64_t first = head * (h / g), begin = (here.slot * g + head) * e;
            weigh_all(y + (here.row * (h + 2 * g) + first) * e, rows->keys + begin, rows->values + begin, here.tokens,
                      g * e, (after.slot - here.slot) * g * e, e, h / g, rows->part + (i * h + first) * (e + 2));
        }
    }
}

/* Add to s the products of neighbouring bfloat16s in a and b, pair by pair. */
static inline Floats pairs(Floats s, Words a, Words b) {
#ifdef __AVX512BF16__
    return (Floats)_mm512_dpbf16_ps((__m512)s, (__m512bh)a, (__m512bh)b);
#else
    return s + even(a) * even(b) + odd(a) * odd(b);
#endif
}

/* Add to c the product of a (4, 2n) and b (2n, 2 LANES), where a row of b holds pairs of a column. */
static inline void tile(const uint32_t *a, int64_t across, const uint32_t *b, int64_t down, int64_t n, float *c,
                        int64_t width) {
    Floats sums[4][2];
    for (int row = 0; row < 4; row++) memcpy(sums[row], c + row * width, sizeof sums[row]);
    for (int64_t i = 0; i < n; i++) {
        Words left = words((const uint16_t *)(b + i * down)), right = words((const uint16_t *)(b + i * down + LANES));
        for (int row = 0; row < 4; row++) {
            Words pair = a[row * across + i] - (Words){0};
            sums[row][0] = pairs(sums[row][0], pair, left);
            sums[row][1] = pairs(sums[row][1], pair, right);
        }
    }
    for (int row = 0; row < 4; row++) memcpy(c + row * width, sums[row], sizeof sums[row]);
}

/* Take `tokens` keys and values as `tile` wants them: pairs of a key's numbers, and numbers of a pair of values. */
static void arrange(const uint16_t *keys, const uint16_t *values, int64_t tokens, int64_t stride, int64_t e,
                    uint32_t *k, uint32_t *v) {
    if (tokens < TOKENS) memset(k, 0, e / 2 * TOKENS * sizeof *k), memset(v, 0, TOKENS / 2 * e * sizeof *v);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < e / 2; i++) memcpy(k + i * TOKENS + t, keys + t * stride + 2 * i, sizeof *k);
    for (int64_t t = 0; t < tokens; t += 2) {
        const uint16_t *restrict first = values + t * stride, *restrict second = first + stride;
        uint32_t *restrict to = v + t / 2 * e;
        if (t + 1 < tokens)
            for (int64_t i = 0; i < e; i++) to[i] = first[i] | (uint32_t)second[i] << 16;
        else
            for (int64_t i = 0; i < e; i++) to[i] = first[i];
    }
}

/* Turn scores s (TOKENS) of which `n` count into weights p, and return their sum; `most` is the largest so far. */
static float weights(float *s, int64_t n, float root, float *most, float *shrink, uint16_t *p) {
    float top = *most, sum = 0;
    for (int64_t t = n; t < TOKENS; t++) s[t] = LOWEST;
    for (int64_t t = 0; t < TOKENS; t++) s[t] *= root, top = fmaxf(top, s[t]);
    for (int64_t t = 0; t < TOKENS; t++) s[t] = exponential(s[t] - top);
    for (int64_t t = n; t < TOKENS; t++) s[t] = 0;
    for (int64_t t = 0; t < TOKENS; t++) sum += s[t], p[t] = narrow(s[t]);
    *shrink = exponential(*most - top), *most = top;
    return sum;
}

typedef struct { /* queries of one key-value head, and what they have found so far */
    uint32_t q[QUERIES][LARGEST / 2];
    float found[QUERIES][LARGEST], most[QUERIES], sum[QUERIES];
    int64_t seen[QUERIES];
} Queries;

/* Let queries meet the keys and values from one token on (Dao et al. 2022). */
static void meet(Queries *to, int64_t count, int64_t from, const uint32_t *k, const uint32_t *v, int64_t e) {
    float root = 1 / sqrtf(e), scores[4][TOKENS], shrink;
    uint16_t p[4][TOKENS];
    for (int64_t row = 0; row < count; row += 4) {
        memset(scores, 0, sizeof scores);
        for (int64_t t = 0; t < TOKENS; t += 2 * LANES)
            tile(to->q[row], LARGEST / 2, k + t, TOKENS, e / 2, scores[0] + t, TOKENS);
        for (int64_t i = 0; i < 4; i++) {
            int64_t at = row + i, n = to->seen[at] - from;
            n = n < 0 ? 0 : n < TOKENS ? n : TOKENS;
            float sum = weights(scores[i], n, root, to->most + at, &shrink, p[i]);
            to->sum[at] = to->sum[at] * shrink + sum;
            for (int64_t j = 0; j < e; j++) to->found[at][j] *= shrink;
        }
        for (int64_t j = 0; j < e; j += 2 * LANES)
            tile((const uint32_t *)p, TOKENS / 2, v + j, e, TOKENS / 2, to->found[row] + j, LARGEST);
    }
}

/* The same for rows that follow one another in one sequence: keys are fetched once for many queries. */
static void read_all(const Model *model, const Rows *rows, int64_t at, const float *y) {
    int64_t e = model->head_dim, h = model->heads, g = model->kv_heads, group = h / g, each = QUERIES / group;
    int64_t blocks = (rows->m + each - 1) / each;
#pragma omp for schedule(dynamic)
    for (int64_t i = blocks * g - 1; i >= 0; i--) { /* the longest first */
        int64_t begin = i / g * each, end = begin + each < rows->m ? begin + each : rows->m, head = i % g;
        int64_t count = (end - begin) * group, slot = (at * rows->slots + rows->first[0]) * g * e + head * e;
        Queries to;
        uint32_t k[LARGEST / 2 * TOKENS], v[TOKENS / 2 * LARGEST];
        memset(&to, 0, sizeof to);
        for (int64_t n = 0; n < count; n++) {
            int64_t row = begin + n / group;
            const float *q = y + (row * (h + 2 * g) + head * group + n % group) * e;
            for (int64_t j = 0; j < e / 2; j++) to.q[n][j] = narrow(q[2 * j]) | (uint32_t)narrow(q[2 * j + 1]) << 16;
            to.seen[n] = rows->seen[row], to.most[n] = LOWEST;
        }
        for (int64_t from = 0; from < rows->seen[end - 1]; from += TOKENS) {
            int64_t left = rows->seen[end - 1] - from, there = slot + from * g * e;
            arrange(rows->keys + there, rows->values + there, left < TOKENS ? left : TOKENS, g * e, e, k, v);
            meet(&to, count, from, k, v, e);
        }
        for (int64_t n = 0; n < count; n++) {
            float *o = rows->mixed + ((begin + n / group) * h + head * group + n % group) * e;
            for (int64_t j = 0; j < e; j++) o[j] = to.found[n][j] / to.sum[n];
        }
    }
    int64_t k = h * e;
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows->m; row++) quantise(rows->mixed + row * k, k, rows->a + row * k, rows->s + row);
}

/* Put the parts of each row together as `mixed`, and prepare that for the next product. */
static void join(const Model *model, const Rows *rows) {
    int64_t e = model->head_dim, h = model->heads;
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows->m; row++) {
        int64_t begin = row ? rows->parts[row - 1] : 0, end = rows->parts[row];
        for (int64_t head = 0; head < h; head++) {
            float *restrict o = rows->mixed + (row * h + head) * e, most = LOWEST, sum = 0;
            for (int64_t i = begin; i < end; i++) most = fmaxf(most, rows->part[(i * h + head) * (e + 2) + e]);
            memset(o, 0, e * sizeof *o);
            for (int64_t i = begin; i < end; i++) {
                const float *restrict part = rows->part + (i * h + head) * (e + 2);
                float weight = exponential(part[e] - most);
                sum += weight * part[e + 1];
                for (int64_t j = 0; j < e; j++) o[j] += weight * part[j];
            }
            for (int64_t j = 0; j < e; j++) o[j] /= sum;
        }
        quantise(rows->mixed + row * h * e, h * e, rows->a + row * h * e, rows->s + row);
    }
}

/* Prepare SwiGLU of y (m, 2f), scaled by s, for the next product; y is used up. */
static void gate(const Model *model, const Rows *rows, float *y) {
    int64_t f = model->f;
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows->m; row++) {
        float *restrict h = y + row * 2 * f, *restrict value = h + f, s = rows->s[row];
        for (int64_t i = 0; i < f; i++) {
            float z = h[i] * s;
            h[i] = z / (1 + exponential(-z)) * (value[i] * s);
        }
        quantise(h, f, rows->a + row * f, rows->s + row);
    }
}

/* Read a token in each row, and give the logits (wanted, v) after the last `wanted` of them. */
void mark_step(const Model *model, const Rows *rows, float *logits) {
    int64_t v = model->head.n, skipped = rows->m - rows->wanted;
#pragma omp parallel num_threads(rows->threads)
    {
        embed(model, rows);
        for (int64_t at = 0; at < model->layers; at++) {
            const Layer *layer = model->layer + at;
            enter(model, rows, rows->y, at == 0, layer->attention_norm);
            product(&layer->qkv, rows->m, rows->a, rows->y);
            place(model, rows, at, rows->y);
            attend(model, rows, at, rows->y);
            join(model, rows);
            product(&layer->out, rows->m, rows->a, rows->y);
            enter(model, rows, rows->y, 0, layer->mlp_norm);
            product(&layer->gate_up, rows->m, rows->a, rows->y);
            gate(model, rows, rows->y);
            product(&layer->down, rows->m, rows->a, rows->y);
        }
        enter(model, rows, rows->y, 0, model->norm);
        product(&model->head, rows->wanted, rows->a + skipped * model->d, logits);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows->wanted; row++)
            for (int64_t i = 0; i < v; i++) logits[row * v + i] *= rows->s[skipped + row];
    }
}

/* The same stages one by one, for more rows, whose products are somebody else's. */
#define STAGE(name, ...)                                      \
    {                                                         \
        _Pragma("omp parallel num_threads(rows->threads)") name(__VA_ARGS__); \
    }
void mark_embed(const Model *model, const Rows *rows) STAGE(embed, model, rows)
void mark_enter(const Model *model, const Rows *rows, float *y, int start, const float *gain)
    STAGE(enter, model, rows, y, start, gain)
void mark_place(const Model *model, const Rows *rows, int64_t at, float *y) STAGE(place, model, rows, at, y)
void mark_attend(const Model *model, const Rows *rows, int64_t at, float *y) {
#pragma omp parallel num_threads(rows->threads)
    {
        attend(model, rows, at, y);
        join(model, rows);
    }
}
void mark_read(const Model *model, const Rows *rows, int64_t at, float *y) STAGE(read_all, model, rows, at, y)
void mark_gate(const Model *model, const Rows *rows, float *y) STAGE(gate, model, rows, y)

/* Multiply as mark_step does. */
void mark_product(const Matrix *w, const Rows *rows, int64_t m, const uint8_t *a, float *y)
    STAGE(product, w, m, a, y)

/* Have the calling thread's further work done by so many threads; torch's own function changes it for others too. */
void mark_threads(int64_t count) { omp_set_num_threads((int)count); }
