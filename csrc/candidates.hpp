// The points an acquisition is first scored at: spread over the space, and near the best rows.
//
// A `raw` point has a number in [0, 1] for every dim, also where it is inactive, so that switching a parent finds a value in
// its children; `canonical` makes of it what the space knows. Spread points are Sobol's with a random digital shift per
// axis: Owen scrambling is not needed where a thousand points are thrown away. A finite space small enough is enumerated.
// Perturbed: TuRBO's rule of about 20 dims at a time (Eriksson et al., NeurIPS 2019) keeps them near in many dims.
#pragma once

#include "draws.hpp"
#include "encoding.hpp"
#include "sobol.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr double SPREADS[] = {0.01, 0.05, 0.2};           // standard deviations of perturbations
constexpr double SWITCH_CHANCE[] = {0.05, 0.15, 0.4};     // of a coarse discrete coordinate
constexpr std::size_t SPREAD_COUNT = 3;
constexpr double PERTURBED_DIMS = 20.0;

struct Space {
    DimsView dims;
    bool plain;  // numbers only, no conditions: canonical is raw
};

inline Space space_of(const DimsView& dims) {
    Space space{dims, true};
    for (std::size_t j = 0; j < dims.d; ++j) space.plain = space.plain && dims.kind[j] <= FLOAT_LOG && dims.parent[j] < 0;
    return space;
}

inline void canonical(const Space& space, const double* raw, double* out) {
    if (space.plain) {
        for (std::size_t j = 0; j < space.dims.d; ++j) out[j] = raw[j];
    } else {
        snap(space.dims, raw, 1, out);  // raw has no NaN
    }
}

// Points of the finite space, or 0 where it is infinite or has more than `most`.
inline std::size_t finite_size(const DimsView& dims, std::size_t most) {
    double size = 1;
    for (std::size_t j = 0; j < dims.d; ++j) {
        if (dims.kind[j] <= FLOAT_LOG) return 0;
        size *= dims.levels[j];
        if (size > static_cast<double>(most)) return 0;
    }
    return static_cast<std::size_t>(size);
}

inline void enumerated(const DimsView& dims, std::size_t index, double* raw) {
    for (std::size_t j = 0; j < dims.d; ++j) {
        const std::size_t levels = static_cast<std::size_t>(dims.levels[j]);
        raw[j] = centre_of(dims, j, static_cast<double>(index % levels));
        index /= levels;
    }
}

// The first `count` Sobol points, shifted by the stream.
inline void spread_points(std::size_t count, std::size_t d, Stream& s, double* raw) {
    std::uint32_t bits[AXES];
    std::uint32_t shift[AXES];
    for (std::size_t first = 0; first < d; first += AXES) {
        const std::size_t axes = d - first < AXES ? d - first : AXES;
        const std::uint32_t shuffle = static_cast<std::uint32_t>(next_word(s));
        for (std::size_t j = 0; j < axes; ++j) shift[j] = static_cast<std::uint32_t>(next_word(s));
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint32_t number = static_cast<std::uint32_t>(i);
            sobol_block(first == 0 ? number : owen_scramble(number, shuffle), axes, bits);
            double* row = raw + i * d + first;
            for (std::size_t j = 0; j < axes; ++j) row[j] = (static_cast<double>(bits[j] ^ shift[j]) + 0.5) * 0x1p-32;
        }
    }
}

// A cheap stream that a named one starts.
inline std::uint64_t next_hash(std::uint64_t& state) { return mixed(state += 0x9E3779B97F4A7C15u); }

inline double unit(std::uint64_t word) { return static_cast<double>(word >> 11) * 0x1p-53; }

// raw = centre, where it is active, moved by about SPREADS[size]; a category or a coarse level is switched now and then.
inline void perturb(const DimsView& dims, const double* centre, std::size_t size, std::uint64_t& state, double* raw) {
    const double spread = SPREADS[size];
    const double d = static_cast<double>(dims.d);
    const std::size_t always = static_cast<std::size_t>(unit(next_hash(state)) * d);
    for (std::size_t j = 0; j < dims.d; ++j) {
        const double from = centre[j];
        const std::uint64_t word = next_hash(state);
        if (from != from) {
            raw[j] = unit(word);
            continue;
        }
        raw[j] = from;
        if (d > PERTURBED_DIMS && j != always && unit(next_hash(state)) * d > PERTURBED_DIMS) continue;
        double step = spread * rough_normal(word);
        if (dims.kind[j] > FLOAT_LOG && dims.levels[j] * spread < 1.0) {
            if (unit(next_hash(state)) >= SWITCH_CHANCE[size]) continue;
            if (dims.kind[j] == CATEGORICAL) {
                raw[j] = unit(word);
                continue;
            }
            const double level = 1.0 / dims.levels[j];
            step = step < 0 ? (step < -level ? step : -level) : (step > level ? step : level);
        }
        raw[j] = clamped(from + step, 0.0, 1.0);
    }
}

}  // namespace jaxhp::JAXHP_ISA
