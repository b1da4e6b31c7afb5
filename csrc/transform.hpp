// The output transform: half-rank warping, then a z-score (GP_SEARCH.md step 2; the idea is Vizier's, Song et al., arXiv 2408.11527).
//
// The better half keeps its values; everything above the median m becomes m - s ppf((rank - 1/2) / (2 n_bad + 1)), with dense
// ranks from 1 (worst) and s = rms(y - m) over the distinct y <= m. Non-finite values are one class, worse than any number.
// Quantiles are observed values (the lower median), so no mean of a good and a blown-up value becomes a threshold.
//
// Two guards keep the good values apart however many trials blow up:
//   1. While s > 10 (q - min), q being the quantile at half the good fraction, the good fraction is halved; FEWEST distinct
//      values stay good.
//   2. Before that, where more than half of the finite values lie beyond one jump of factor JUMP (against the spread and the
//      magnitude of what lies below), they count as failed for the median, and keep their ranks: guard 1 cannot see a
//      blow-up that fills both fractions it compares.
#pragma once

#include <cmath>
#include <cstddef>

#include "ppf.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr std::size_t FEWEST = 5;
constexpr double HEAVY = 10.0;
constexpr double JUMP = 1e3;

// Merge sort, ascending, without NaN; `spare` has room for n.
inline void sort_ascending(double* v, std::size_t n, double* spare) {
    double* from = v;
    double* to = spare;
    for (std::size_t width = 1; width < n; width *= 2) {
        for (std::size_t start = 0; start < n; start += 2 * width) {
            std::size_t left = start;
            const std::size_t middle = start + width < n ? start + width : n;
            std::size_t right = middle;
            const std::size_t end = middle + width < n ? middle + width : n;
            for (std::size_t i = start; i < end; ++i) {
                const bool take_left = left < middle && (right >= end || from[left] <= from[right]);
                to[i] = take_left ? from[left++] : from[right++];
            }
        }
        double* swap = from;
        from = to;
        to = swap;
    }
    if (from != v)
        for (std::size_t i = 0; i < n; ++i) v[i] = from[i];
}

// How many of the ascending v (n,) are to be looked at for the median: guard 2.
inline std::size_t without_blow_ups(const double* v, std::size_t n) {
    const double magnitude = v[0] < 0 ? -v[0] : v[0];
    for (std::size_t i = 1; 2 * (i + 1) < n; ++i) {
        const double spread = v[i] - v[0];
        if (spread > 0 && (v[i + 1] - v[0]) / JUMP > (spread > magnitude ? spread : magnitude)) return i + 1;
    }
    return n;
}

// rms(v - v[g - 1]) / (v[g - 1] - v[0]) over the distinct ones of the ascending v[0..g); 1 where there is only one.
inline double relative_rms(const double* v, std::size_t g) {
    const double scale = v[g - 1] - v[0];
    if (!(scale > 0)) return 1.0;
    double sum = 0;
    std::size_t distinct = 0;
    for (std::size_t i = 0; i < g; ++i) {
        if (i > 0 && v[i] == v[i - 1]) continue;
        const double w = (v[i] - v[g - 1]) / scale;
        sum += w * w;
        ++distinct;
    }
    return std::sqrt(sum / static_cast<double>(distinct));
}

// The number of good values among the ascending v (n,): guard 1.
inline std::size_t good_count(const double* v, std::size_t n) {
    std::size_t fewest = 0;  // the shortest prefix with FEWEST distinct values
    for (std::size_t distinct = 0; fewest < n; ++fewest) {
        if (fewest == 0 || v[fewest] != v[fewest - 1]) ++distinct;
        if (distinct == FEWEST) break;
    }
    ++fewest;
    std::size_t good = (n + 1) / 2;
    while (true) {
        std::size_t half = (good + 1) / 2;
        const double rms = relative_rms(v, good) * (v[good - 1] - v[0]);
        if (!(rms / HEAVY > v[half - 1] - v[0])) return good;
        if (half < fewest) half = fewest;
        if (half >= good) return good;
        good = half;
    }
}

inline void standardize(double* w, std::size_t n) {
    double mean = 0;
    for (std::size_t i = 0; i < n; ++i) mean += w[i];
    mean /= static_cast<double>(n);
    double variance = 0;
    for (std::size_t i = 0; i < n; ++i) variance += (w[i] - mean) * (w[i] - mean);
    const double deviation = std::sqrt(variance / static_cast<double>(n));
    for (std::size_t i = 0; i < n; ++i) w[i] = deviation > 0 ? (w[i] - mean) / deviation : 0.0;
}

inline void transform(const double* y, std::size_t n, double* out, double* scratch) {
    constexpr double QUARTER = 0.25;  // exact, and differences of +-1.8e308 stay finite
    constexpr double LARGEST = 0x1.fffffffffffffp1023;
    double* v = scratch;
    double* warped = scratch + n;
    std::size_t finite = 0;
    for (std::size_t i = 0; i < n; ++i)
        if (y[i] >= -LARGEST && y[i] <= LARGEST) v[finite++] = y[i] * QUARTER;
    const bool failed = finite < n;
    sort_ascending(v, finite, warped);
    const bool constant = finite == 0 || (!failed && v[0] == v[finite - 1]);
    if (constant) {
        for (std::size_t i = 0; i < n; ++i) out[i] = 0.0;
        return;
    }
    const std::size_t good = good_count(v, without_blow_ups(v, finite));
    const double threshold = v[good - 1];
    const double scale = threshold > v[0] ? threshold - v[0] : 1.0;
    const double rms = relative_rms(v, good);

    std::size_t distinct = 0;
    std::size_t bad = failed ? 1 : 0;
    for (std::size_t i = 0; i < finite; ++i) {
        if (i > 0 && v[i] == v[distinct - 1]) continue;
        v[distinct++] = v[i];
        if (v[i] > threshold) ++bad;
    }
    const double denominator = 2.0 * static_cast<double>(bad) + 1.0;
    double worst = 0;  // of the failed ones
    if (failed) worst = -rms * ppf(0.5 / denominator);
    for (std::size_t i = 0; i < distinct; ++i) {
        const std::size_t rank = distinct - i + (failed ? 1 : 0);
        warped[i] = v[i] > threshold ? -rms * ppf((static_cast<double>(rank) - 0.5) / denominator)
                                     : (v[i] - threshold) / scale;
    }
    for (std::size_t i = 0; i < n; ++i) {
        if (!(y[i] >= -LARGEST && y[i] <= LARGEST)) {
            out[i] = worst;
            continue;
        }
        const double value = y[i] * QUARTER;
        std::size_t low = 0;
        std::size_t high = distinct - 1;
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            if (v[middle] < value) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        out[i] = warped[low];
    }
    standardize(out, n);
}

}  // namespace jaxhp::JAXHP_ISA
