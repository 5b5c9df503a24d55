/* The recurrences of Mamba and Mamba-2 (see scan.py), one token after another, the state in registers.
 *
 * kernels.py compiles this for the machine that it runs on. A token's result depends on its own sequence
 * alone: how many sequences there are, how they are cut, and how many threads, changes nothing.
 * Shapes: m rows (tokens), e channels, n numbers of state a channel, g groups, k taps; matrices lie row by
 * row, `_stride` floats from one row to the next.
 */
#include <stdint.h>
#include <string.h>

#define LANES 16  /* floats in a vector; scans.py knows it too */
#define LARGEST 256 /* state size */

typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

typedef struct {
    int64_t count, threads;
    const int64_t *begin; /* (count + 1): first row of each sequence, and m */
    float *const *kept;   /* (count): what is kept of each, changed in place */
} Sequences;

static inline Floats load(const float *p) { return *(const Floats *)p; }
static inline void store(float *p, Floats x) { *(Floats *)p = x; }
static inline Floats all(float x) { return x - (Floats){0}; }

static inline Floats either(Ints mask, Floats x, Floats y) { return (Floats)((mask & (Ints)x) | (~mask & (Ints)y)); }

/* Relative error 2e-7 near 0, and 6e-8 more for each doubling or halving of the result. */
static inline Floats exponential(Floats x) {
    Floats t = x * 1.44269504f;
    t = either(t > -126.0f, t, all(-126.0f));
    t = either(t < 126.0f, t, all(126.0f));
    Ints exponent = __builtin_convertvector(t + 127.5f, Ints); /* rounded, with its bias */
    Floats f = (t - __builtin_convertvector(exponent - 127, Floats)) * 0.693147181f; /* within +-0.35 */
    Floats p = 1.0f + f * (1.0f + f * (0.5f + f * (1 / 6.0f + f * (1 / 24.0f + f * (1 / 120.0f + f * (1 / 720.0f))))));
    return p * (Floats)(exponent << 23);
}

static inline Floats silu(Floats x) { return x / (1.0f + exponential(-x)); }

/* Convolve c channels over each sequence's rows, after what is kept of it, (k - 1, c), and apply SiLU. */
void mark_convolve(const Sequences *all_rows, int64_t c, int64_t k, const float *x, int64_t x_stride,
                   const float *weight, const float *bias, float *y) {
#pragma omp parallel for collapse(2) num_threads(all_rows->threads)
    for (int64_t s = 0; s < all_rows->count; s++)
        for (int64_t at = 0; at < c; at += LANES) {
            int64_t first = all_rows->begin[s], rows = all_rows->begin[s + 1] - first, before = k - 1;
            float *window = all_rows->kept[s] + at;
            const float *from = x + first * x_stride + at;
            for (int64_t row = 0; row < rows; row++) {
                Floats sum = load(bias + at);
                for (int64_t tap = 0; tap < k; tap++) {
                    int64_t of = row + tap - before;
                    sum += load(weight + tap * c + at) * load(of < 0 ? window + (of + before) * c : from + of * x_stride);
                }
                store(y + (first + row) * c + at, silu(sum));
            }
            for (int64_t i = 0; i < before; i++) {
                int64_t of = i + rows - before;
                store(window + i * c, load(of < 0 ? window + (of + before) * c : from + of * x_stride));
            }
        }
}

typedef struct {
    int64_t e, n, groups, heads;
    const float *A;               /* Mamba (n, e), Mamba-2 (heads) */
    const float *D;               /* (e) */
    const float *x, *dt, *B, *C, *gate;
    int64_t x_stride, dt_stride, B_stride, C_stride, gate_stride;
    float *y; /* (m, e) */
} Scan;

/* Finish a row: skip over the recurrence with D, and gate. */
static inline void finish(const Scan *w, int64_t row, int64_t at, Floats x, Floats y) {
    store(w->y + row * w->e + at, (y + x * load(w->D + at)) * silu(load(w->gate + row * w->gate_stride + at)));
}

static inline __attribute__((always_inline)) void selective(const Scan *w, float *kept, int64_t from, int64_t to, int64_t at,
                                                           const int64_t n) {
    Floats h[LARGEST];
    for (int64_t i = 0; i < n; i++) h[i] = load(kept + i * w->e + at);
    for (int64_t row = from; row < to; row++) {
        const float *B = w->B + row * w->B_stride, *C = w->C + row * w->C_stride;
        Floats dt = load(w->dt + row * w->dt_stride + at), x = load(w->x + row * w->x_stride + at);
        Floats taken = dt * x, y = {0}, z = {0};
        for (int64_t i = 0; i < n; i += 2) {
            h[i] = exponential(dt * load(w->A + i * w->e + at)) * h[i] + taken * B[i];
            h[i + 1] = exponential(dt * load(w->A + (i + 1) * w->e + at)) * h[i + 1] + taken * B[i + 1];
            y += h[i] * C[i];
            z += h[i + 1] * C[i + 1];
        }
        finish(w, row, at, x, y + z);
    }
    for (int64_t i = 0; i < n; i++) store(kept + i * w->e + at, h[i]);
}

/* Mamba: x, dt, gate (m, e), B and C (m, n), kept (n, e); n even, e a multiple of LANES. */
void mark_selective(const Sequences *all_rows, const Scan *w) {
#pragma omp parallel for collapse(2) num_threads(all_rows->threads)
    for (int64_t s = 0; s < all_rows->count; s++)
        for (int64_t at = 0; at < w->e; at += LANES) {
            const int64_t *begin = all_rows->begin + s;
            if (w->n == 16) selective(w, all_rows->kept[s], begin[0], begin[1], at, 16);
            else selective(w, all_rows->kept[s], begin[0], begin[1], at, w->n);
        }
}

/* Mamba-2: x and gate (m, e), dt (m, heads), B and C (m, g n), kept (g, n, e / g); n a multiple of 4. */
void mark_ssd(const Sequences *all_rows, const Scan *w) {
    int64_t n = w->n, width = w->e / w->groups, p = w->e / w->heads;
#pragma omp parallel for collapse(2) num_threads(all_rows->threads)
    for (int64_t s = 0; s < all_rows->count; s++)
        for (int64_t at = 0; at < w->e; at += LANES) {
            int64_t group = at / width, head = at / p;
            float *kept = all_rows->kept[s] + group * n * width + at % width;
            Floats h[LARGEST];
            for (int64_t i = 0; i < n; i++) h[i] = load(kept + i * width);
            for (int64_t row = all_rows->begin[s]; row < all_rows->begin[s + 1]; row++) {
                const float *B = w->B + row * w->B_stride + group * n, *C = w->C + row * w->C_stride + group * n;
                float dt = w->dt[row * w->dt_stride + head];
                Floats decay = exponential(all(dt * w->A[head])), x = load(w->x + row * w->x_stride + at);
                Floats taken = dt * x, y[4] = {{0}};
                for (int64_t i = 0; i < n; i += 4)
                    for (int64_t j = 0; j < 4; j++) {
                        h[i + j] = decay * h[i + j] + taken * B[i + j];
                        y[j] += h[i + j] * C[i + j];
                    }
                finish(w, row, at, x, (y[0] + y[1]) + (y[2] + y[3]));
            }
            for (int64_t i = 0; i < n; i++) store(kept + i * width, h[i]);
        }
}
