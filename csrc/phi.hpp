// The standard normal distribution on vectors of doubles: masses of intervals, for densities that are truncated or cut into cells.
//
// For x >= 0, erfc(x) = exp(-x^2) p(y) / (1 + 2 x) with y = (x - 3.75) / (x + 3.75): Shepherd & Laframboise, Chebyshev
// approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < inf, Mathematics of Computation 36, 1981. The coefficients are this
// project's, from 60 digits: relative error 5e-16 of p, so of the tail about 1e-16 (4 + z^2).
#pragma once

#include "simd.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr double TINIEST_MASS = 1e-300;
constexpr double NARROW = 3e-3;  // an interval in units of the deviation that Simpson's rule knows better than a difference

// P(N > z) for z >= 0.
inline Double upper_tail(Double z) {
    constexpr double P[] = {4.25147144479638952e-10, 3.11143338097992545e-10,  -5.17399021401130954e-09, -3.74421008096201827e-09,
                            3.86753342422223536e-08, 2.32635087088591238e-08,  -2.58668507161558839e-07, -5.72182306032240859e-08,
                            1.75163764884906209e-06, -9.73559896736774970e-07, -1.14441462377005235e-05, 2.23842391550822306e-05,
                            5.16490988926824067e-05, -2.90154080540841724e-04, 2.93713665591344814e-04,  1.75562585289529543e-03,
                            -9.74657955802927557e-03, 2.83622774189564060e-02, -5.86933985896367708e-02, 9.23043211603774838e-02,
                            -1.08803930141748856e-01, 8.22767384901452042e-02, 3.58541548546442929e-03,  -1.40240598585546966e-01,
                            1.23751263083782748e+00};
    const Double x = z * 0.70710678118654752440;
    const Double y = (x - 3.75) / (x + 3.75);
    Double p = broadcast(P[0]);
    for (int i = 1; i < 25; ++i) p = fma(p, y, broadcast(P[i]));
    return 0.5 * exp_minus(0.5 * z * z) * p / (1.0 + 2.0 * x);
}

inline Double at_least_tiniest(Double mass) { return mass > TINIEST_MASS ? mass : broadcast(TINIEST_MASS); }

// P(a < N < b) for b - a of NARROW or more, at least TINIEST_MASS.
inline Double wide_mass(Double a, Double b) {
    const Double beyond_a = upper_tail(a < 0.0 ? -a : a);
    const Double beyond_b = upper_tail(b < 0.0 ? -b : b);
    const Double right = beyond_a - beyond_b;
    return at_least_tiniest(a >= 0.0 ? right : b <= 0.0 ? -right : 1.0 - beyond_a - beyond_b);
}

// P(a < N < b) for a < b, at least TINIEST_MASS.
inline Double normal_mass(Double a, Double b) {
    constexpr double INVERSE_SQRT_2PI = 0.39894228040143267794;
    const Double width = b - a;
    const Double middle = 0.5 * (a + b);
    const Double simpson = exp_minus(0.5 * a * a) + 4.0 * exp_minus(0.5 * middle * middle) + exp_minus(0.5 * b * b);
    return width < NARROW ? at_least_tiniest(width * simpson * (INVERSE_SQRT_2PI / 6.0)) : wide_mass(a, b);
}

}  // namespace jaxhp::JAXHP_ISA
