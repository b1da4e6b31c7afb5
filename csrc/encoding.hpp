// Between plain values x and the unit cube u, a batch of rows at a time (docs/architecture.md, "The encoded space").
//
// A discrete coordinate sits at its level's centre. GRID_LOG cuts the log axis at the half-integers, so level i, the integer
// low + i, owns [low + i - 1/2, low + i + 1/2]: log u = start + u span. A coordinate is active when its parent is active and
// sits at a level that `allowed` names; an inactive one is NaN.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernel.hpp"

namespace jaxhp::JAXHP_ISA {

inline double clamped(double value, double low, double high) {
    return value < low ? low : value > high ? high : value;
}

// floor for 0 <= x < 2^63
inline double whole(double x) { return static_cast<double>(static_cast<std::int64_t>(x)); }

// The level at u in [0, 1].
inline double level_at(const DimsView& dims, std::size_t j, double u) {
    const double last = dims.levels[j] - 1.0;
    if (dims.kind[j] == GRID_LOG)
        return clamped(whole(std::exp(dims.start[j] + u * dims.span[j]) + 0.5) - dims.low[j], 0.0, last);
    return clamped(whole(u * dims.levels[j]), 0.0, last);
}

// The u of a level.
inline double centre_of(const DimsView& dims, std::size_t j, double level) {
    if (dims.kind[j] == GRID_LOG) return (std::log(dims.low[j] + level) - dims.start[j]) / dims.span[j];
    return (level + 0.5) / dims.levels[j];
}

// Whether dim j is active in a row whose earlier dims are canonical.
inline bool active(const DimsView& dims, std::size_t j, const double* row) {
    if (dims.parent[j] < 0) return true;
    const std::size_t parent = static_cast<std::size_t>(dims.parent[j]);
    if (row[parent] != row[parent]) return false;
    const std::size_t level = static_cast<std::size_t>(level_at(dims, parent, row[parent]));
    return dims.allowed[j * dims.allowed_columns + level] != 0;
}

inline std::int64_t snap(const DimsView& dims, const double* u, std::size_t n, double* out) {
    const std::size_t d = dims.d;
    for (std::size_t i = 0; i < n; ++i) {
        const double* from = u + i * d;
        double* row = out + i * d;
        for (std::size_t j = 0; j < d; ++j) {
            if (!active(dims, j, row)) {
                row[j] = __builtin_nan("");
                continue;
            }
            if (from[j] != from[j]) return static_cast<std::int64_t>(i * d + j);
            const double inside = clamped(from[j], 0.0, 1.0);
            row[j] = dims.kind[j] <= FLOAT_LOG ? inside : centre_of(dims, j, level_at(dims, j, inside));
        }
    }
    return NONE_BAD;
}

inline void decode(const DimsView& dims, const double* u, std::size_t n, double* out) {
    const std::size_t d = dims.d;
    for (std::size_t i = 0; i < n; ++i) {
        const double* row = u + i * d;
        double* x = out + i * d;
        for (std::size_t j = 0; j < d; ++j) {
            if (row[j] != row[j]) {
                x[j] = row[j];
                continue;
            }
            const double inside = clamped(row[j], 0.0, 1.0);
            if (dims.kind[j] > FLOAT_LOG) {
                x[j] = level_at(dims, j, inside);
            } else if (inside == 0.0) {
                x[j] = dims.low[j];
            } else if (inside == 1.0) {
                x[j] = dims.high[j];
            } else {
                const double value = dims.kind[j] == FLOAT ? dims.low[j] + inside * (dims.high[j] - dims.low[j])
                                                           : std::exp(dims.start[j] + inside * dims.span[j]);
                x[j] = clamped(value, dims.low[j], dims.high[j]);
            }
        }
    }
}

inline std::int64_t encode(const DimsView& dims, const double* x, std::size_t n, double* out) {
    const std::size_t d = dims.d;
    for (std::size_t i = 0; i < n; ++i) {
        const double* row = x + i * d;
        double* u = out + i * d;
        for (std::size_t j = 0; j < d; ++j) {
            const double value = row[j];
            if (value != value) {
                u[j] = value;
            } else if (dims.kind[j] > FLOAT_LOG) {
                if (!(value >= 0.0 && value < dims.levels[j] && value == whole(value)))
                    return static_cast<std::int64_t>(i * d + j);
                u[j] = centre_of(dims, j, value);
            } else {
                if (!(value >= dims.low[j] && value <= dims.high[j])) return static_cast<std::int64_t>(i * d + j);
                if (value == dims.high[j]) {
                    u[j] = 1.0;
                } else {
                    u[j] = dims.kind[j] == FLOAT ? (value - dims.low[j]) / (dims.high[j] - dims.low[j])
                                                 : clamped((std::log(value) - dims.start[j]) / dims.span[j], 0.0, 1.0);
                }
            }
        }
    }
    return NONE_BAD;
}

}  // namespace jaxhp::JAXHP_ISA
