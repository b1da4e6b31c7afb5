// CMA-ES natively: the distribution after a generation, and points drawn from it. Python's side and the papers are in
// jaxhp/samplers/_cma_update.py and _cma_draw.py; numbers in parentheses are equations of Hansen's tutorial, arXiv 1604.00772.
#pragma once

#include <cmath>

#include "eigen.hpp"
#include "kernel.hpp"
#include "philox.hpp"
#include "ppf.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr double SMALLEST = 1e-8;  // added to a squared length that divides
constexpr double FLAT = 1e-8;      // deviation of an axis whose variance rounding has made negative
constexpr std::uint64_t ON_BOUNDS = 2;  // the attempt from which on floats outside their bounds are put on them

struct Generation {
    std::size_t stride;
    double* y;      // (popsize, stride) (x - mean) / sigma
    double* B;      // (n, stride); nothing in the separable variant
    double* y_w;    // (stride,)
    double* z;      // (stride,)
    double* p_c;    // (stride,)
    double* steps;  // (popsize,) c_mu w_i, scaled for negative weights
    Eigen eigen;
};

inline Generation generation_layout(Arena& arena, const CmaConstants& made) {
    const std::size_t stride = padded(made.n);
    Generation generation{};
    generation.stride = stride;
    generation.y = take<double>(arena, made.popsize * stride);
    generation.B = take<double>(arena, made.separable ? 0 : made.n * stride);
    generation.y_w = take<double>(arena, stride);
    generation.z = take<double>(arena, stride);
    generation.p_c = take<double>(arena, stride);
    generation.steps = take<double>(arena, made.popsize);
    generation.eigen = eigen_layout(arena, made.separable ? 0 : made.n);
    return generation;
}

inline std::size_t cma_memory(const CmaConstants& made) {
    Arena arena{nullptr, 0};
    generation_layout(arena, made);
    return arena.used;
}

// Copies the row (n,) into (stride,), zeros behind it.
inline void pad(const double* row, std::size_t n, double* to, std::size_t stride) {
    for (std::size_t j = 0; j < n; ++j) to[j] = row[j];
    for (std::size_t j = n; j < stride; ++j) to[j] = 0.0;
}

// z = D^-1 B^T y, a rotation of C^-1/2 y.
inline void whiten(const Generation& generation, const CmaConstants& made, const double* D, const double* y) {
    double* z = generation.z;
    for (std::size_t j = 0; j < generation.stride; ++j) z[j] = made.separable ? y[j] : 0.0;
    if (!made.separable)
        for (std::size_t i = 0; i < made.n; ++i) add_multiple(z, y[i], generation.B + i * generation.stride, 0, generation.stride);
    for (std::size_t j = 0; j < made.n; ++j) z[j] /= D[j];
}

// B and D of the C that lies in `generation.eigen.A`, eigenvalues rising. Whether the eigenvalues were found.
inline bool decompose(Generation& generation, std::size_t n, double* B, double* D) {
    Eigen& eigen = generation.eigen;
    if (!decompose(eigen)) return false;
    for (std::size_t k = 0; k < n; ++k) {
        std::size_t least = k;
        for (std::size_t i = k + 1; i < n; ++i)
            if (eigen.values[i] < eigen.values[least]) least = i;
        const double value = eigen.values[least];
        eigen.values[least] = eigen.values[k];
        D[k] = value > 0.0 ? std::sqrt(value) : FLAT;
        double* vector = eigen.Zt + least * eigen.stride;
        double* moved = eigen.Zt + k * eigen.stride;
        for (std::size_t j = 0; j < n; ++j) {
            B[j * n + k] = vector[j];
            vector[j] = moved[j];
        }
    }
    return true;
}

inline bool cma_decompose(const CmaConstants& made, const double* C, unsigned char* memory, double* B, double* D) {
    Arena arena{memory, 0};
    Generation generation = generation_layout(arena, made);
    for (std::size_t i = 0; i < made.n; ++i) {
        double* row = generation.eigen.A + i * generation.stride;
        pad(C + i * made.n, made.n, row, generation.stride);
        for (std::size_t j = i + 1; j < made.n; ++j) row[j] = C[j * made.n + i];  // the lower triangle counts
    }
    return decompose(generation, made.n, B, D);
}

inline bool cma_update(const CmaConstants& made, const CmaView& search, const double* x, const std::uint8_t* foreign, bool due,
                       unsigned char* memory, const CmaResult& after) {
    Arena arena{memory, 0};
    Generation generation = generation_layout(arena, made);
    const std::size_t n = made.n, mu = made.mu, stride = generation.stride;
    const double dims = static_cast<double>(n);
    const double* w = made.weights;
    for (std::size_t i = 0; i < n && !made.separable; ++i) pad(search.B + i * n, n, generation.B + i * stride, stride);
    const double longest = std::sqrt(dims) + 2.0 * dims / (dims + 2.0);  // c_y of (3) in arXiv 1110.4181
    double weight = 0.0;
    for (std::size_t i = 0; i < made.popsize; ++i) {
        double* y = generation.y + i * stride;
        for (std::size_t j = 0; j < n; ++j) y[j] = (x[i * n + j] - search.mean[j]) / search.sigma;
        for (std::size_t j = n; j < stride; ++j) y[j] = 0.0;
        weight += w[i];
        generation.steps[i] = made.c_mu * w[i];
        const bool shortened = foreign != nullptr && foreign[i] != 0;
        if (!shortened && (i < mu || w[i] == 0.0)) continue;
        whiten(generation, made, search.D, y);
        double square = product(generation.z, generation.z, stride);
        if (shortened) {
            const double length = std::sqrt(square + SMALLEST);
            const double factor = longest < length ? longest / length : 1.0;
            for (std::size_t j = 0; j < n; ++j) y[j] *= factor;
            square *= factor * factor;
        }
        if (i >= mu) generation.steps[i] *= dims / (square + SMALLEST);  // (46)
    }
    double* y_w = generation.y_w;
    for (std::size_t j = 0; j < stride; ++j) y_w[j] = 0.0;
    for (std::size_t i = 0; i < mu; ++i) add_multiple(y_w, w[i], generation.y + i * stride, 0, stride);  // (41)
    whiten(generation, made, search.D, y_w);
    const double c_sigma = made.c_sigma, c_c = made.c_c, c_1 = made.c_1;
    const double wide = std::sqrt(c_sigma * (2.0 - c_sigma) * made.mu_eff);
    double square = 0.0;
    for (std::size_t j = 0; j < n; ++j) {
        const double turned = made.separable ? generation.z[j] : product(generation.B + j * stride, generation.z, stride);  // C^-1/2 y_w
        after.p_sigma[j] = (1.0 - c_sigma) * search.p_sigma[j] + wide * turned;  // (43)
        square += after.p_sigma[j] * after.p_sigma[j];
    }
    const double length = std::sqrt(square);
    const double growth = c_sigma / made.d_sigma * (length / made.chi_n - 1.0);
    *after.sigma = search.sigma * std::exp(growth < 1.0 ? growth : 1.0);  // (44)
    const double unbiased = std::sqrt(1.0 - std::pow(1.0 - c_sigma, 2.0 * (search.g + 1.0)));
    const bool h = length / unbiased < (1.4 + 2.0 / (dims + 1.0)) * made.chi_n;
    const double along = h ? std::sqrt(c_c * (2.0 - c_c) * made.mu_eff) : 0.0;
    for (std::size_t j = 0; j < n; ++j) {
        after.p_c[j] = (1.0 - c_c) * search.p_c[j] + along * y_w[j];  // (45)
        after.mean[j] = search.mean[j] + search.sigma * y_w[j];       // (42), c_m = 1
    }
    pad(after.p_c, n, generation.p_c, stride);
    const double keep = 1.0 + (h ? 0.0 : c_1 * c_c * (2.0 - c_c)) - c_1 - made.c_mu * weight;
    if (made.separable) {  // the diagonal of (47)
        for (std::size_t j = 0; j < n; ++j) {
            double variance = keep * search.C[j] + c_1 * after.p_c[j] * after.p_c[j];
            for (std::size_t i = 0; i < made.popsize; ++i) {
                const double y = generation.y[i * stride + j];
                variance += generation.steps[i] * y * y;
            }
            after.C[j] = variance;
            after.D[j] = variance > 0.0 ? std::sqrt(variance) : FLAT;
        }
        return true;
    }
    double* C = generation.eigen.A;
    for (std::size_t r = 0; r < n; ++r) {  // (47)
        double* row = C + r * stride;
        pad(search.C + r * n, n, row, stride);
        for (std::size_t j = 0; j < stride; ++j) row[j] *= keep;
        add_multiple(row, c_1 * generation.p_c[r], generation.p_c, 0, stride);
        for (std::size_t i = 0; i < made.popsize; ++i) {
            const double* y = generation.y + i * stride;
            add_multiple(row, generation.steps[i] * y[r], y, 0, stride);
        }
        for (std::size_t j = 0; j < r; ++j) C[j * stride + r] = row[j];  // symmetric to the last bit
    }
    for (std::size_t r = 0; r < n; ++r)
        for (std::size_t j = 0; j < n; ++j) after.C[r * n + j] = C[r * stride + j];
    return !due || decompose(generation, n, after.B, after.D);
}

// v (d,) where x is evaluated: floats within their bounds, other numbers stretched by A, categories at their levels' centres.
inline void place(const CmaDrawView& view, const double* x, const std::int64_t* chosen, double* v) {
    for (std::size_t j = 0; j < view.n; ++j) {
        const double m = view.mean[j];
        const double inside = x[j] < 0.0 ? 0.0 : x[j] > 1.0 ? 1.0 : x[j];
        v[view.numeric[j]] = view.bounded[j] ? inside : m + view.A[j] * (x[j] - m);
    }
    for (std::size_t i = 0; i < view.c; ++i)
        v[view.categorical[i]] = (static_cast<double>(chosen[i]) + 0.5) / static_cast<double>(view.levels[i]);
}

// Row i is drawn at attempts[i], and again until its floats are within their bounds or it is `ON_BOUNDS`; `attempts` becomes the
// last one. Then v is on the bounds and x stays where it was drawn: so the distribution learns how far it wants to go.
// Number 0 at attempt 0 is the mean with its usual categories. `scratch` has room for n + d doubles.
inline void cma_draw(const CmaDrawView& view, const std::int64_t* numbers, std::size_t k, double* scratch, double* v, double* x,
                     std::int64_t* chosen, std::int64_t* attempts) {
    const std::size_t n = view.n, d = n + view.c;
    double* uniforms = scratch;
    double* z = scratch + d;
    for (std::size_t i = 0; i < k; ++i) {
        double* point = x + i * n;
        std::int64_t* levels = chosen + i * view.c;
        for (std::uint64_t attempt = static_cast<std::uint64_t>(attempts[i]);; ++attempt) {
            attempts[i] = static_cast<std::int64_t>(attempt);
            if (numbers[i] == 0 && attempt == 0) {
                for (std::size_t j = 0; j < n; ++j) point[j] = view.mean[j];
                for (std::size_t j = 0; j < view.c; ++j) levels[j] = view.usual[j];
            } else {
                philox(view.seed, view.purpose, numbers + i, 1, d, attempt, uniforms);
                for (std::size_t j = 0; j < n; ++j) z[j] = uniforms[view.numeric[j]] + 0x1p-54;  // in (0, 1)
                ppf(z, n, z);
                for (std::size_t j = 0; j < n; ++j) z[j] *= view.D[j];
                for (std::size_t j = 0; j < n; ++j) {
                    double y = z[j];
                    if (!view.separable) {
                        const double* row = view.B + j * n;
                        Double wide = broadcast(0.0);
                        std::size_t l = 0;
                        for (; l + DOUBLES <= n; l += DOUBLES) wide = fma(load(row + l), load(z + l), wide);
                        y = sum(wide);
                        for (; l < n; ++l) y += row[l] * z[l];
                    }
                    point[j] = view.mean[j] + view.sigma * y;
                }
                for (std::size_t j = 0; j < view.c; ++j) {
                    const double* q = view.q + j * view.width;
                    const double drawn = uniforms[view.categorical[j]];
                    double below = 0.0;
                    std::int64_t level = 0;
                    for (; level + 1 < view.levels[j]; ++level) {
                        below += q[level];
                        if (drawn < below) break;
                    }
                    levels[j] = level;
                }
            }
            bool inside = true;
            for (std::size_t j = 0; j < n; ++j) inside = inside && !(view.bounded[j] && (point[j] < 0.0 || point[j] > 1.0));
            if (inside || attempt >= ON_BOUNDS) break;
        }
        place(view, point, levels, v + i * d);
    }
}

}  // namespace jaxhp::JAXHP_ISA
