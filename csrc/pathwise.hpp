// One draw of a posterior as a function, for Thompson sampling: Matheron's rule with random Fourier features.
//
//   f(x) = m + k(x)^T alpha + [prior(x) - k(x)^T K^-1 (prior(X) + e)],   prior(x) = sum_m w_m cos(omega_m x + b_m)
// (Wilson et al., Efficiently sampling functions from Gaussian process posteriors, ICML 2020, eq. 12; Rahimi & Recht 2007).
// Matern-5/2's spectral density is a multivariate t with 5 degrees of freedom: in the coordinates sqrt(5) x / l of `Prepared`
// a frequency is z / sqrt(chi2_5), whatever l is. A category is a one-hot vector scaled by sqrt(1/2): level v adds its own
// normal z_{m,v} sqrt(5) / (l sqrt(2 chi2_5)) to the phase, drawn by hashing v. Phases are in turns.
#pragma once

#include "draws.hpp"
#include "normal.hpp"
#include "posterior.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr std::size_t FEATURES = 256;
constexpr double TURN = 6.28318530717958647693;

struct Path {
    double* frequency;  // (d, FEATURES) by position, in turns; for categories the factor of their normals
    double* phase;      // (FEATURES,)
    double* weight;     // (FEATURES,)
    double* update;     // (n,) -K^-1 (prior(X) + e)
    double* turns;      // (FEATURES,) scratch
    std::uint64_t salt;
};

inline Path lay_out_path(Arena& arena, const Prepared& p) {
    Path path{};
    path.frequency = take<double>(arena, p.d * FEATURES);
    path.phase = take<double>(arena, FEATURES);
    path.weight = take<double>(arena, FEATURES);
    path.update = take<double>(arena, p.padded);
    path.turns = take<double>(arena, FEATURES);
    return path;
}

// sin(2 pi t) for t in [-1/4, 1/4]: Taylor, 1e-17.
inline Double quarter_sine(Double t) {
    const Double x = t * TURN;
    const Double square = x * x;
    constexpr double c[] = {1.0 / 51090942171709440000.0, -1.0 / 121645100408832000.0, 1.0 / 355687428096000.0,
                            -1.0 / 1307674368000.0,       1.0 / 6227020800.0,          -1.0 / 39916800.0,
                            1.0 / 362880.0,               -1.0 / 5040.0,               1.0 / 120.0,
                            -1.0 / 6.0,                   1.0};
    Double p = broadcast(c[0]);
    for (int i = 1; i < 11; ++i) p = fma(square, p, broadcast(c[i]));
    return p * x;
}

inline Double whole_turns(Double t) {
    const Double shift = broadcast(6755399441055744.0);
    return (t + shift) - shift;
}

inline Double sine_of_turns(Double t) {
    const Double r = t - whole_turns(t);
    return quarter_sine(r > 0.25 ? 0.5 - r : r < -0.25 ? -0.5 - r : r);
}

inline Double cosine_of_turns(Double t) { return sine_of_turns(t + 0.25); }

// prior(x) at a point given by position; leaves the phases in `turns`.
inline double prior_value(const Prepared& p, Path& path, const double* query) {
    for (std::size_t m = 0; m < FEATURES; ++m) path.turns[m] = path.phase[m];
    for (std::size_t a = 0; a < p.d; ++a) {
        const double* frequency = path.frequency + a * FEATURES;
        if (a < p.numbers) {
            for (std::size_t m = 0; m < FEATURES; ++m) path.turns[m] += query[a] * frequency[m];
        } else {
            std::uint64_t bits;
            __builtin_memcpy(&bits, query + a, sizeof bits);
            const std::uint64_t level = mixed(bits ^ path.salt ^ (p.order[a] * 0x9E3779B97F4A7C15u));
            for (std::size_t m = 0; m < FEATURES; ++m)
                path.turns[m] += frequency[m] * rough_normal(mixed(level + m * 0x9E3779B97F4A7C15u));
        }
    }
    Double total{};
    for (std::size_t m = 0; m < FEATURES; m += DOUBLES)
        total = fma(load(path.weight + m), cosine_of_turns(load(path.turns + m)), total);
    return sum(total);
}

// gradient (d,) by dim += by_path d prior / du, at the point of the last `prior_value`.
inline void add_prior_gradient(const Prepared& p, const Path& path, double by_path, double* gradient) {
    for (std::size_t a = 0; a < p.numbers; ++a) {
        Double total{};
        for (std::size_t m = 0; m < FEATURES; m += DOUBLES)
            total = fma(load(path.weight + m) * load(path.frequency + a * FEATURES + m),
                        sine_of_turns(load(path.turns + m)), total);
        gradient[p.order[a]] -= by_path * TURN * p.scale[a] * sum(total);
    }
}

// Draws the features and conditions them on the rows. `point` is scratch.
inline void draw_path(const Prepared& p, const PosteriorView& view, const DrawName& name, std::size_t which, Path& path,
                      Point& point) {
    Stream s = stream(name, FEATURE + which);
    path.salt = next_word(s);
    const double amplitude = std::sqrt(2.0 * p.s2 / static_cast<double>(FEATURES));
    for (std::size_t m = 0; m < FEATURES; ++m) {
        double chi2 = 0;
        for (int i = 0; i < 5; ++i) {
            const double z = next_normal(s);
            chi2 += z * z;
        }
        const double spread = 1.0 / (TURN * std::sqrt(chi2));
        for (std::size_t a = 0; a < p.numbers; ++a) path.frequency[a * FEATURES + m] = spread * next_normal(s);
        for (std::size_t a = p.numbers; a < p.d; ++a) path.frequency[a * FEATURES + m] = spread * SQRT_HALF * p.scale[a];
        path.phase[m] = next_uniform(s);
        path.weight[m] = amplitude * next_normal(s);
    }
    for (std::size_t i = 0; i < p.padded; ++i) point.k[i] = point.w[i] = 0.0;
    for (std::size_t i = 0; i < p.n; ++i) {
        for (std::size_t a = 0; a < p.d; ++a) point.query[a] = p.x[a * p.padded + i];
        point.k[i] = prior_value(p, path, point.query) + std::sqrt(view.noise[i] > 0.0 ? view.noise[i] : 0.0) * next_normal(s);
    }
    Point* const points[] = {&point};
    project_all<1, 1>(p, points);
    for (std::size_t i = 0; i < p.n; ++i) path.update[i] = -point.w[i];
}

}  // namespace jaxhp::JAXHP_ISA
