// A Gaussian process's mean m(x) = m + k(x)^T alpha and variance s2 - |Linv k(x)|^2, for many points or with gradients.
//
// `Posterior` (jaxhp/_types.py) is borrowed; `Prepared` is the part of it that the loops read, rescaled once per call.
// With q = sqrt(5) r, the Matern-5/2 kernel is k = s2 (1 + q + q^2 / 3) exp(-q) and dk/dx_j = -(s2 / 3) (1 + q) exp(-q)
// (5 / l_j^2) (x_j - x'_j). A number enters as sqrt(5) x / l, so q^2 is a plain sum of squares; a category as itself, and
// adds 5 / l^2 where it differs. Dims are reordered, numbers first. An inactive coordinate (NaN) is 0.5.
//
// Three passes, from rough to exact, each over all rows:
//   bound      float32, lanes are points: the mean, and var <= s2 - max_i k_i^2 / (s2 + noise_i), the variance given row i
//   moments    float64, lanes are points: mean and variance of a block
//   evaluate   float64, lanes are rows: mean, variance and gradients at a few points that share one pass over Linv
#pragma once

#include <cmath>

#include "arena.hpp"
#include "kernel.hpp"
#include "simd.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr std::size_t TILE = 8;                // rows of one register tile of `bound`
constexpr std::size_t BLOCK = 2 * DOUBLES;     // points of one call to `moments`
constexpr std::size_t ROUND = 16;              // rows are padded to a multiple of this
constexpr double SMALLEST_VARIANCE = 1e-12;    // relative to s2
constexpr double SQRT_5 = 2.23606797749978969641;

// Rows of Linv per register tile: 2 ROWS accumulators fit the register file.
#if defined(__AVX512F__)
constexpr std::size_t ROWS = 8;
#else
constexpr std::size_t ROWS = 4;
#endif

struct Prepared {
    std::size_t d;
    std::size_t n;
    std::size_t padded;
    std::size_t numbers;    // dims [0, numbers) of `order` are numbers, the others categories
    std::size_t* order;     // (d,) the dim of the space at each position
    double* scale;          // (d,) sqrt(5) / l, by position
    double* x;              // (d, padded) by position; scaled where a number
    float* tiles;           // (padded / TILE, d, TILE) the same in float32; padding is far from everything
    float* weight;          // (padded,) s2 alpha
    float* shrink;          // (padded,) s2 / sqrt(s2 + noise)
    const double* alpha;    // (n,)
    const double* Linv;     // (n, stride), readable to the next multiple of DOUBLES
    std::size_t stride;
    double s2;
    double mean;
    double mean_error;      // of the float32 mean, generously
    bool finite;
};

inline std::size_t rounded_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

inline bool is_finite(double x) { return x - x == 0.0; }

inline Prepared lay_out(Arena& arena, const PosteriorView& view) {
    Prepared p{};
    p.d = view.d;
    p.n = view.n;
    p.padded = rounded_up(view.n, ROUND);
    p.order = take<std::size_t>(arena, p.d);
    p.scale = take<double>(arena, p.d);
    p.x = take<double>(arena, p.d * p.padded);
    p.tiles = take<float>(arena, p.d * p.padded);
    p.weight = take<float>(arena, p.padded);
    p.shrink = take<float>(arena, p.padded);
    p.alpha = view.alpha;
    p.Linv = view.Linv;
    p.stride = view.capacity;
    if (view.capacity % DOUBLES != 0) {
        p.stride = rounded_up(view.n, DOUBLES);
        p.Linv = take<double>(arena, p.n * p.stride);
    }
    return p;
}

inline void prepare(Prepared& p, const PosteriorView& view) {
    constexpr float FAR = 1e15f;
    std::size_t position = 0;
    for (std::int8_t kind = 0; kind <= 1; ++kind) {
        for (std::size_t j = 0; j < p.d; ++j)
            if ((view.kind[j] != 0) == (kind != 0)) p.order[position++] = j;
        if (kind == 0) p.numbers = position;
    }
    p.s2 = view.theta[p.d];
    p.mean = view.mean;
    p.finite = is_finite(p.s2) && p.s2 > 0.0 && is_finite(p.mean);
    for (std::size_t a = 0; a < p.d; ++a) {
        const double length = view.theta[p.order[a]];
        p.scale[a] = SQRT_5 / length;
        p.finite = p.finite && length > 0.0 && is_finite(p.scale[a]) && is_finite(p.scale[a] * p.scale[a]);
        const double* from = view.X + p.order[a] * view.capacity;
        double* to = p.x + a * p.padded;
        const double factor = a < p.numbers ? p.scale[a] : 1.0;
        for (std::size_t i = 0; i < p.n; ++i) to[i] = from[i] * factor;
        for (std::size_t i = p.n; i < p.padded; ++i) to[i] = 0.0;
        for (std::size_t i = 0; i < p.padded; ++i)
            p.tiles[(i / TILE * p.d + a) * TILE + i % TILE] = i < p.n ? static_cast<float>(to[i]) : FAR;
    }
    double squares = 0;
    for (std::size_t i = 0; i < p.padded; ++i) {
        const double alpha = i < p.n ? p.alpha[i] : 0.0;
        squares += alpha * alpha;
        p.weight[i] = static_cast<float>(p.s2 * alpha);
        p.shrink[i] = i < p.n ? static_cast<float>(p.s2 / std::sqrt(p.s2 + view.noise[i])) : 0.0f;
    }
    p.finite = p.finite && is_finite(squares);
    p.mean_error = 2e-6 * p.s2 * std::sqrt(squares);
    if (view.capacity % DOUBLES != 0) {
        double* copy = const_cast<double*>(p.Linv);  // this call's own, from the arena
        for (std::size_t i = 0; i < p.n; ++i)
            for (std::size_t j = 0; j < p.stride; ++j)
                copy[i * p.stride + j] = j <= i ? view.Linv[i * view.capacity + j] : 0.0;
    }
}

// A coordinate as the kernel sees it, by position.
inline double coordinate(const Prepared& p, std::size_t a, const double* u) {
    const double value = u[p.order[a]];
    const double embedded = value == value ? value : 0.5;
    return a < p.numbers ? p.scale[a] * embedded : embedded;
}

// ---------------------------------------------------------------------------------------------------------- bound
// query (d, FLOATS) by position. `mean` lacks nothing; `largest` is max_i k_i^2 / (s2 + noise_i).
inline void bound(const Prepared& p, const float* query, Float& mean, Float& largest) {
    mean = broadcast(static_cast<float>(p.mean));
    largest = Float{};
    for (std::size_t first = 0; first < p.padded; first += TILE) {
        const float* tile = p.tiles + first * p.d;
        Float square[TILE] = {};
        for (std::size_t a = 0; a < p.numbers; ++a) {
            const Float x = load(query + a * FLOATS);
#pragma GCC unroll 8
            for (std::size_t r = 0; r < TILE; ++r) {
                const Float delta = x - tile[a * TILE + r];
                square[r] = fma(delta, delta, square[r]);
            }
        }
        for (std::size_t a = p.numbers; a < p.d; ++a) {
            const Float x = load(query + a * FLOATS);
            const Float differs = broadcast(static_cast<float>(p.scale[a] * p.scale[a]));
#pragma GCC unroll 8
            for (std::size_t r = 0; r < TILE; ++r) square[r] += x != tile[a * TILE + r] ? differs : Float{};
        }
#pragma GCC unroll 8
        for (std::size_t r = 0; r < TILE; ++r) {
            const Float q = sqrt(square[r]);
            const Float k = fma(square[r], broadcast(1.0f / 3.0f), q + 1.0f) * exp_minus(q);
            mean = fma(k, broadcast(p.weight[first + r]), mean);
            const Float shrunk = k * p.shrink[first + r];
            largest = shrunk > largest ? shrunk : largest;
        }
    }
    largest *= largest;
}

// -------------------------------------------------------------------------------------------------------- moments
// low, high += (row of Linv . k(point))^2 over a tile of `rows` rows; k (padded, BLOCK).
template <std::size_t rows>
inline void add_squares(const Prepared& p, std::size_t first, const double* k, Double& low, Double& high) {
    const double* L = p.Linv + first * p.stride;
    Double v[2 * rows] = {};
    for (std::size_t j = 0; j < first + rows; ++j) {
        const Double k0 = load(k + j * BLOCK);
        const Double k1 = load(k + j * BLOCK + DOUBLES);
#pragma GCC unroll 8
        for (std::size_t r = 0; r < rows; ++r) {
            const Double entry = broadcast(L[r * p.stride + j]);
            v[2 * r] = fma(entry, k0, v[2 * r]);
            v[2 * r + 1] = fma(entry, k1, v[2 * r + 1]);
        }
    }
#pragma GCC unroll 8
    for (std::size_t r = 0; r < rows; ++r) {
        low = fma(v[2 * r], v[2 * r], low);
        high = fma(v[2 * r + 1], v[2 * r + 1], high);
    }
}

// query (d, BLOCK) by position; `k` becomes (padded, BLOCK); mean (BLOCK,) the posterior's, variance (BLOCK,) the prior's.
inline void prior_moments(const Prepared& p, const double* query, double* k, double* mean, double* variance) {
    constexpr std::size_t GROUP = 4;
    Double mean0 = broadcast(p.mean);
    Double mean1 = mean0;
    for (std::size_t first = 0; first < p.n; first += GROUP) {  // padded rows exist, and their k is not read
        Double square[2 * GROUP] = {};
        for (std::size_t a = 0; a < p.d; ++a) {
            const Double x0 = load(query + a * BLOCK);
            const Double x1 = load(query + a * BLOCK + DOUBLES);
            const double* row = p.x + a * p.padded + first;
            const Double differs = broadcast(p.scale[a] * p.scale[a]);
#pragma GCC unroll 4
            for (std::size_t r = 0; r < GROUP; ++r) {
                const Double delta0 = x0 - row[r];
                const Double delta1 = x1 - row[r];
                if (a < p.numbers) {
                    square[2 * r] = fma(delta0, delta0, square[2 * r]);
                    square[2 * r + 1] = fma(delta1, delta1, square[2 * r + 1]);
                } else {
                    square[2 * r] += delta0 != 0.0 ? differs : Double{};
                    square[2 * r + 1] += delta1 != 0.0 ? differs : Double{};
                }
            }
        }
#pragma GCC unroll 8
        for (std::size_t r = 0; r < 2 * GROUP; ++r) {
            const Double q = sqrt(square[r]);
            store(k + first * BLOCK + r * DOUBLES, fma(square[r], broadcast(1.0 / 3.0), q + 1.0) * exp_minus(q) * p.s2);
        }
    }
    for (std::size_t i = 0; i < p.n; ++i) {
        mean0 = fma(load(k + i * BLOCK), broadcast(p.alpha[i]), mean0);
        mean1 = fma(load(k + i * BLOCK + DOUBLES), broadcast(p.alpha[i]), mean1);
    }
    store(mean, mean0);
    store(mean + DOUBLES, mean1);
    store(variance, broadcast(p.s2));
    store(variance + DOUBLES, broadcast(p.s2));
}

// variance (BLOCK,) -= what rows [first, end) explain; after the last of them it is the posterior's, before an upper bound.
inline void explain(const Prepared& p, const double* k, std::size_t first, std::size_t end, double* variance) {
    Double explained0{};
    Double explained1{};
    for (; first + ROWS <= end; first += ROWS) add_squares<ROWS>(p, first, k, explained0, explained1);
    for (; first < end; ++first) add_squares<1>(p, first, k, explained0, explained1);
    const Double least = broadcast(SMALLEST_VARIANCE * p.s2);
    const Double variance0 = load(variance) - explained0;
    const Double variance1 = load(variance + DOUBLES) - explained1;
    store(variance, variance0 < least ? least : variance0);
    store(variance + DOUBLES, variance1 < least ? least : variance1);
}

inline void moments(const Prepared& p, const double* query, double* k, double* mean, double* variance) {
    prior_moments(p, query, k, mean, variance);
    explain(p, k, 0, p.n, variance);
}

// ------------------------------------------------------------------------------------------------------- evaluate
// One point's share of `evaluate`; vectors are (padded,) and zero from n on.
struct Point {
    double* query;  // (d,) by position
    double* k;      // s2 kernel values
    double* slope;  // -(s2 / 3) (1 + q) exp(-q)
    double* w;      // Linv^T Linv k
    double mean;
    double variance;
};

inline Point lay_out_point(Arena& arena, std::size_t d, std::size_t padded) {
    Point point{};
    point.query = take<double>(arena, d);
    point.k = take<double>(arena, padded);
    point.slope = take<double>(arena, padded);
    point.w = take<double>(arena, padded);
    return point;
}

inline void evaluate_kernel(const Prepared& p, Point& point) {
    Double mean{};
    for (std::size_t i = 0; i < p.padded; i += DOUBLES) {
        Double square{};
        for (std::size_t a = 0; a < p.numbers; ++a) {
            const Double delta = point.query[a] - load(p.x + a * p.padded + i);
            square = fma(delta, delta, square);
        }
        for (std::size_t a = p.numbers; a < p.d; ++a)
            square += point.query[a] != load(p.x + a * p.padded + i) ? broadcast(p.scale[a] * p.scale[a]) : Double{};
        const Double q = sqrt(square);
        const Double decay = exp_minus(q) * p.s2;
        store(point.k + i, fma(square, broadcast(1.0 / 3.0), q + 1.0) * decay);
        store(point.slope + i, (q + 1.0) * decay * (-1.0 / 3.0));
    }
    for (std::size_t i = p.n; i < p.padded; ++i) point.k[i] = point.slope[i] = 0.0;
    for (std::size_t i = 0; i < p.padded; ++i) point.w[i] = 0.0;
    std::size_t i = 0;
    for (; i + DOUBLES <= p.n; i += DOUBLES) mean = fma(load(point.k + i), load(p.alpha + i), mean);
    point.mean = p.mean + sum(mean);
    for (; i < p.n; ++i) point.mean += point.k[i] * p.alpha[i];
}

// v = rows of Linv . k, w += v^T rows and variance -= |v|^2, for a tile of rows and of points.
template <std::size_t rows, std::size_t width>
inline void project(const Prepared& p, std::size_t first, Point* const* points) {
    const double* L = p.Linv + first * p.stride;
    const std::size_t end = rounded_up(first + rows, DOUBLES);
    Double v[width * rows] = {};
    for (std::size_t j = 0; j < end; j += DOUBLES) {
        Double entry[rows];
#pragma GCC unroll 8
        for (std::size_t r = 0; r < rows; ++r) entry[r] = load(L + r * p.stride + j);
#pragma GCC unroll 4
        for (std::size_t s = 0; s < width; ++s) {
            const Double k = load(points[s]->k + j);
#pragma GCC unroll 8
            for (std::size_t r = 0; r < rows; ++r) v[s * rows + r] = fma(entry[r], k, v[s * rows + r]);
        }
    }
#pragma GCC unroll 4
    for (std::size_t s = 0; s < width; ++s) {
#pragma GCC unroll 8
        for (std::size_t r = 0; r < rows; ++r) {
            const double value = sum(v[s * rows + r]);
            points[s]->variance -= value * value;
            v[s * rows + r] = broadcast(value);
        }
    }
    for (std::size_t j = 0; j < end; j += DOUBLES) {
        Double entry[rows];
#pragma GCC unroll 8
        for (std::size_t r = 0; r < rows; ++r) entry[r] = load(L + r * p.stride + j);
#pragma GCC unroll 4
        for (std::size_t s = 0; s < width; ++s) {
            Double w = load(points[s]->w + j);
#pragma GCC unroll 8
            for (std::size_t r = 0; r < rows; ++r) w = fma(entry[r], v[s * rows + r], w);
            store(points[s]->w + j, w);
        }
    }
}

template <std::size_t rows, std::size_t width>
inline void project_all(const Prepared& p, Point* const* points) {
    for (std::size_t s = 0; s < width; ++s) points[s]->variance = p.s2;
    std::size_t first = 0;
    for (; first + rows <= p.n; first += rows) project<rows, width>(p, first, points);
    for (; first < p.n; ++first) project<1, width>(p, first, points);
    const double least = SMALLEST_VARIANCE * p.s2;
    for (std::size_t s = 0; s < width; ++s)
        if (points[s]->variance < least) points[s]->variance = least;
}

// Mean, variance and what their gradients need at `count` points.
inline void evaluate(const Prepared& p, Point* const* points, std::size_t count) {
    for (std::size_t s = 0; s < count; ++s) evaluate_kernel(p, *points[s]);
#if defined(__AVX512F__)
    for (; count >= 4; count -= 4, points += 4) project_all<4, 4>(p, points);
#endif
    for (; count >= 2; count -= 2, points += 2) project_all<4, 2>(p, points);
    if (count > 0) project_all<ROWS, 1>(p, points);
}

// gradient (d,), by dim of the space, += d/du (by_mean mean + by_variance variance + by_update update^T k), from
// d variance = -2 w^T dk; `update` (n,) may be null. Categories get nothing. `weights` has room for (padded,).
inline void add_gradient(const Prepared& p, const Point& point, double by_mean, double by_variance, double by_update,
                         const double* update, double* weights, double* gradient) {
    for (std::size_t i = 0; i < p.n; ++i)
        weights[i] = (by_mean * p.alpha[i] - 2.0 * by_variance * point.w[i]) * point.slope[i];
    if (update != nullptr)
        for (std::size_t i = 0; i < p.n; ++i) weights[i] += by_update * update[i] * point.slope[i];
    for (std::size_t i = p.n; i < p.padded; ++i) weights[i] = 0.0;
    for (std::size_t a = 0; a < p.numbers; ++a) {
        Double total{};
        for (std::size_t i = 0; i < p.padded; i += DOUBLES)
            total = fma(point.query[a] - load(p.x + a * p.padded + i), load(weights + i), total);
        gradient[p.order[a]] += p.scale[a] * sum(total);
    }
}

// -------------------------------------------------------------------------------------------------------- predict
struct Prediction {
    Prepared prepared;
    double* k;
    double* query;
};

inline Prediction lay_out_prediction(Arena& arena, const PosteriorView& view) {
    Prediction prediction{lay_out(arena, view), nullptr, nullptr};
    prediction.k = take<double>(arena, prediction.prepared.padded * BLOCK);
    prediction.query = take<double>(arena, view.d * BLOCK);
    return prediction;
}

inline std::size_t predict_memory(const PosteriorView& view) {
    Arena arena{nullptr, 0};
    lay_out_prediction(arena, view);
    return arena.used;
}

// Mean and variance (m,) at the points u (m, d).
inline void predict(const PosteriorView& view, const double* u, std::size_t m, unsigned char* memory, double* mean,
                    double* variance) {
    Arena arena{memory, 0};
    Prediction prediction = lay_out_prediction(arena, view);
    const Prepared& p = prediction.prepared;
    prepare(prediction.prepared, view);
    for (std::size_t first = 0; first < m; first += BLOCK) {
        const std::size_t width = m - first < BLOCK ? m - first : BLOCK;
        double means[BLOCK];
        double variances[BLOCK];
        for (std::size_t a = 0; a < p.d; ++a)
            for (std::size_t c = 0; c < BLOCK; ++c)
                prediction.query[a * BLOCK + c] = coordinate(p, a, u + (first + (c < width ? c : 0)) * p.d);
        moments(p, prediction.query, prediction.k, means, variances);
        for (std::size_t c = 0; c < width; ++c) {
            mean[first + c] = means[c];
            variance[first + c] = variances[c];
        }
    }
}

}  // namespace jaxhp::JAXHP_ISA
