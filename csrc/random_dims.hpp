// Random spaces of every kind, with conditions, for the fuzzers.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "dims.hpp"
#include "kernel.hpp"

namespace jaxhp {

inline std::size_t below(std::mt19937_64& random, std::size_t n) { return static_cast<std::size_t>(random() % n); }

inline EncodedDims random_dims(std::mt19937_64& random, std::size_t d) {
    std::vector<std::int8_t> kind(d);
    std::vector<double> low(d), high(d);
    std::vector<std::int64_t> levels(d);
    std::vector<std::int32_t> parent(d, -1);
    for (std::size_t j = 0; j < d; ++j) {
        kind[j] = static_cast<std::int8_t>(below(random, 6));
        constexpr std::int64_t counts[] = {1, 2, 3, 5, 17, 33, 70, 1000};
        levels[j] = kind[j] <= FLOAT_LOG ? 0 : counts[below(random, 8)];
        low[j] = 1;
        high[j] = levels[j] > 0 ? static_cast<double>(levels[j]) : 2.0;
        if (j == 0 || below(random, 3) != 0) continue;
        const std::size_t candidate = below(random, j);
        if (kind[candidate] > FLOAT_LOG && kind[candidate] != GRID_LOG) parent[j] = static_cast<std::int32_t>(candidate);
    }
    std::vector<std::uint8_t> allowed(d * 1000);
    for (std::uint8_t& entry : allowed) entry = random() % 2;
    return EncodedDims(kind, low, high, levels, parent, allowed);
}

}  // namespace jaxhp
