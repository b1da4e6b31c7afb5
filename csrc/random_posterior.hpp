// Posteriors for the C++ tests, by textbook loops.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "kernel.hpp"

namespace jaxhp {

struct RandomPosterior {
    std::size_t d;
    std::size_t n;
    std::size_t capacity;
    std::vector<double> X, Linv, alpha, noise, theta, y;
    std::vector<std::int8_t> kind;
    double mean;

    PosteriorView view() const {
        return {d, n, capacity, X.data(), Linv.data(), alpha.data(), noise.data(), theta.data(), kind.data(), mean};
    }
};

inline double slow_kernel(const RandomPosterior& p, const double* a, std::size_t a_step, const double* b, std::size_t b_step) {
    double square = 0;
    for (std::size_t j = 0; j < p.d; ++j) {
        const double x = a[j * a_step];
        const double z = b[j * b_step];
        const double u = std::isnan(x) ? 0.5 : x;
        const double v = std::isnan(z) ? 0.5 : z;
        const double delta = p.kind[j] == 0 ? u - v : u != v ? 1.0 : 0.0;
        square += delta * delta / (p.theta[j] * p.theta[j]);
    }
    const double q = std::sqrt(5.0 * square);
    return p.theta[p.d] * (1.0 + q + q * q / 3.0) * std::exp(-q);
}

// Factors p's rows with its theta; values y.
inline void condition(RandomPosterior& p) {
    const std::size_t n = p.n;
    const std::size_t c = p.capacity;
    std::vector<double> L(n * n);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j <= i; ++j) {
            double sum = slow_kernel(p, p.X.data() + i, c, p.X.data() + j, c) + (i == j ? p.noise[i] : 0.0);
            for (std::size_t k = 0; k < j; ++k) sum -= L[i * n + k] * L[j * n + k];
            L[i * n + j] = i == j ? std::sqrt(sum) : sum / L[j * n + j];
        }
    for (std::size_t j = 0; j < n; ++j)
        for (std::size_t i = j; i < n; ++i) {
            double sum = i == j ? 1.0 : 0.0;
            for (std::size_t k = j; k < i; ++k) sum -= L[i * n + k] * p.Linv[k * c + j];
            p.Linv[i * c + j] = sum / L[i * n + i];
        }
    for (std::size_t i = 0; i < n; ++i) {
        double v = 0;
        for (std::size_t k = 0; k <= i; ++k) v += p.Linv[i * c + k] * (p.y[k] - p.mean);
        for (std::size_t k = 0; k <= i; ++k) p.alpha[k] += p.Linv[i * c + k] * v;
    }
}

// n points of the unit cube, the later half crowding around the best as a search's history does; coordinate j has
// levels[j] levels (0: continuous), a category where `kind[j]` is 1.
inline RandomPosterior random_posterior(std::mt19937_64& random, std::size_t n, std::vector<std::int8_t> kind,
                                        const std::vector<double>& levels, std::size_t capacity, double noise) {
    std::uniform_real_distribution<double> uniform(0.0, 1.0);
    std::normal_distribution<double> normal;
    RandomPosterior p;
    p.d = kind.size();
    p.n = n;
    p.capacity = capacity;
    p.kind = std::move(kind);
    p.X.assign(p.d * capacity, 0.0);
    p.Linv.assign(capacity * capacity, 0.0);
    p.alpha.assign(capacity, 0.0);
    p.noise.assign(capacity, 0.0);
    p.y.assign(n, 0.0);
    p.mean = 0.1 * normal(random);
    for (std::size_t j = 0; j < p.d; ++j) p.theta.push_back(std::exp(0.5 * normal(random)) * 0.5 * std::sqrt(static_cast<double>(p.d)) / 2);
    p.theta.push_back(std::exp(0.5 * normal(random)));
    p.theta.push_back(noise);
    std::vector<double> optimum(p.d);
    std::vector<double> curvature(p.d);
    for (std::size_t j = 0; j < p.d; ++j) {
        optimum[j] = uniform(random);
        curvature[j] = std::exp(normal(random));
    }
    double best = 1e300;
    std::vector<double> centre = optimum;
    for (std::size_t i = 0; i < n; ++i) {
        double value = 0;
        for (std::size_t j = 0; j < p.d; ++j) {
            double u = i < n / 2 ? uniform(random) : centre[j] + 0.05 * normal(random);
            u = u < 0 ? 0 : u > 1 ? 1 : u;
            if (levels[j] > 0) u = (std::fmin(std::floor(u * levels[j]), levels[j] - 1) + 0.5) / levels[j];
            p.X[j * capacity + i] = u;
            value += curvature[j] * (u - optimum[j]) * (u - optimum[j]) + 0.1 * std::cos(9 * (u - optimum[j]));
        }
        p.noise[i] = noise;
        p.y[i] = value + 1e-3 * normal(random);
        if (value < best) {
            best = value;
            for (std::size_t j = 0; j < p.d; ++j) centre[j] = p.X[j * capacity + i];
        }
    }
    double mean = 0;
    double square = 0;
    for (const double y : p.y) mean += y / static_cast<double>(n);
    for (const double y : p.y) square += (y - mean) * (y - mean) / static_cast<double>(n);
    for (double& y : p.y) y = (y - mean) / (square > 0 ? std::sqrt(square) : 1.0);
    condition(p);
    return p;
}

}  // namespace jaxhp
