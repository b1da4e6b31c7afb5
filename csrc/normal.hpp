// The standard normal distribution where it is small: log Phi and log h, with h(z) = phi(z) + z Phi(z) and their derivatives.
//
// log h is the logarithm of expected improvement in units of the predicted deviation (Ament et al., Unexpected improvements
// to expected improvement for Bayesian optimization, NeurIPS 2023). Above z = NEAR it is evaluated as written, with erfc.
// Below, with a = -z, both are continued fractions without cancellation: for J_n = int_a^inf (t - a)^n phi(t) dt / (n! phi(a)),
//   (n + 1) J_{n+1} = J_{n-1} - a J_n   (integration by parts),   J_{-1} = 1,  J_0 = Phi(-a) / phi(a),  J_1 = h(-a) / phi(a),
// so rho_n = J_n / J_{n-1} = 1 / (a + (n + 1) rho_{n+1}), and log Phi(-a) = log phi + log rho_0, log h = log Phi + log rho_1.
#pragma once

#include <cmath>

#include "simd.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr double LOG_SQRT_2PI = 0.91893853320467274178;
constexpr double SQRT_HALF = 0.70710678118654752440;
constexpr double NEAR = -4.0;

struct Slope {
    double value;
    double derivative;
};

inline double normal_log_pdf(double z) { return -0.5 * z * z - LOG_SQRT_2PI; }

inline double normal_pdf(double z) { return std::exp(normal_log_pdf(z)); }

inline double normal_cdf(double z) { return 0.5 * std::erfc(-z * SQRT_HALF); }

// rho_1(a) for a >= -NEAR, to a few ulp.
inline double continued_fraction(double a) {
    double rho = 1.0 / a;
    for (int n = a > 12.0 ? 14 : 40; n >= 1; --n) rho = 1.0 / (a + (n + 1) * rho);
    return rho;
}

// log Phi(z) and phi(z) / Phi(z).
inline Slope log_cdf(double z) {
    if (z < NEAR) {
        const double inverse_mills = -z + continued_fraction(-z);
        return {normal_log_pdf(z) - std::log(inverse_mills), inverse_mills};
    }
    const double upper = 0.5 * std::erfc(z * SQRT_HALF);
    return {z > 0 ? std::log1p(-upper) : std::log(1.0 - upper), normal_pdf(z) / normal_cdf(z)};
}

// log h(z) and h'(z) / h(z) = Phi(z) / h(z).
inline Slope log_h(double z) {
    if (z < NEAR) {
        const double rho = continued_fraction(-z);
        return {normal_log_pdf(z) + std::log(rho / (-z + rho)), 1.0 / rho};
    }
    const double cdf = normal_cdf(z);
    const double h = normal_pdf(z) + z * cdf;
    return {std::log(h), cdf / h};
}

// log h(z) for scoring: within 3e-6 + 3e-7 |log h|. J_1(|z|) = t^2 P(t) with t = 1 / (1 + 0.4 |z|), P a minimax fit of this
// project; for z > 0, h(z) = z + h(-z).
inline Float log_h(Float z) {
    const Float clipped = z > -1e9f ? z : broadcast(-1e9f);
    const Float a = clipped < 0.0f ? -clipped : clipped;
    const Float t = 1.0f / fma(a, broadcast(0.4f), broadcast(1.0f));
    constexpr float P[] = {0.273464359f,  -1.38013006f, 2.67510941f, -2.23947749f, 0.495164791f,
                           -0.0570300929f, 0.350733932f, 0.402141018f, 0.320023678f, 0.159999915f};
    Float p = broadcast(P[0]);
    for (int i = 1; i < 10; ++i) p = fma(t, p, broadcast(P[i]));
    const Float log_phi = fma(a * a, broadcast(-0.5f), broadcast(-0.918938533f));
    const Float below = log_phi + log(t * t * p);
    const Float above = log(fma(exp_minus(-log_phi), t * t * p, a));
    return clipped < 0.0f ? below : above;
}

inline void log_h(const double* z, std::size_t n, double* value, double* derivative) {
    for (std::size_t i = 0; i < n; ++i) {
        const Slope slope = log_h(z[i]);
        value[i] = slope.value;
        derivative[i] = slope.derivative;
    }
}

inline void log_cdf(const double* z, std::size_t n, double* value, double* derivative) {
    for (std::size_t i = 0; i < n; ++i) {
        const Slope slope = log_cdf(z[i]);
        value[i] = slope.value;
        derivative[i] = slope.derivative;
    }
}

}  // namespace jaxhp::JAXHP_ISA
