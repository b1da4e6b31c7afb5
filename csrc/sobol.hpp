// Sobol points by index, with hash-based nested uniform (Owen) scrambling.
//
// Direction numbers: directions.hpp. Point i is the xor of the direction numbers at the set bits of gray(i) = i ^ (i >> 1),
// the order of SciPy and of every sequential generator (Antonov & Saleev, USSR Comput. Math. 19, 1979).
// Scrambling: Burley, Practical hash-based Owen scrambling, JCGT 9(4), 2020: in bit-reversed order every bit is flipped by a
// hash of the bits above it (Laine & Karras, EGSR 2011), with the constants of N. Vegdahl, "Building a better LK hash"
// (psychopath.io, 2021). The seed of an axis is a hash of (seed, axis). A 32-bit value becomes the middle of its cell, so
// 0 < u < 1. Beyond AXES axes: Burley's padding (section 4): axis j repeats axis j mod AXES under another scramble and
// another shuffle of the index, itself a nested scramble, so an aligned block of 2^m indices stays one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "directions.hpp"

namespace jaxhp::JAXHP_ISA {

inline std::uint32_t reverse_bits(std::uint32_t x) {
    x = ((x >> 1) & 0x55555555u) | ((x & 0x55555555u) << 1);
    x = ((x >> 2) & 0x33333333u) | ((x & 0x33333333u) << 2);
    x = ((x >> 4) & 0x0F0F0F0Fu) | ((x & 0x0F0F0F0Fu) << 4);
    return __builtin_bswap32(x);
}

// Each bit is changed by the bits below it only, because every multiplier of a xor is even.
inline std::uint32_t laine_karras(std::uint32_t x, std::uint32_t seed) {
    x ^= x * 0x3d20adeau;
    x += seed;
    x *= (seed >> 16) | 1u;
    x ^= x * 0x05526c56u;
    x ^= x * 0x53a22864u;
    return x;
}

inline std::uint32_t owen_scramble(std::uint32_t x, std::uint32_t seed) {
    return reverse_bits(laine_karras(reverse_bits(x), seed));
}

// The upper half of SplitMix64's finaliser (Steele, Lea & Flood, OOPSLA 2014) over (seed, index).
inline std::uint32_t seed_of(std::uint64_t seed, std::uint64_t index) {
    std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 32);
}

// One point's coordinates [0, axes) of one padding block.
inline void sobol_block(std::uint32_t index, std::size_t axes, std::uint32_t* bits) {
    for (std::size_t j = 0; j < axes; ++j) bits[j] = 0;
    for (std::uint32_t rest = index ^ (index >> 1); rest != 0; rest &= rest - 1) {
        const std::uint32_t* row = DIRECTIONS.v[__builtin_ctz(rest)];
        for (std::size_t j = 0; j < axes; ++j) bits[j] ^= row[j];
    }
}

inline void sobol(std::uint64_t seed, const std::int64_t* numbers, std::size_t k, std::size_t d, bool scramble,
                  double* out) {
    std::uint32_t bits[AXES];
    std::uint32_t seeds[AXES];
    for (std::size_t first = 0; first < d; first += AXES) {
        const std::size_t axes = d - first < AXES ? d - first : AXES;
        const std::size_t padding = first / AXES;
        const std::uint32_t shuffle = seed_of(~seed, padding);
        for (std::size_t j = 0; j < axes; ++j) seeds[j] = seed_of(seed, first + j);
        for (std::size_t i = 0; i < k; ++i) {
            const std::uint32_t number = static_cast<std::uint32_t>(numbers[i]);
            sobol_block(padding == 0 ? number : owen_scramble(number, shuffle), axes, bits);
            double* row = out + i * d + first;
            if (scramble) {
                for (std::size_t j = 0; j < axes; ++j)
                    row[j] = (static_cast<double>(owen_scramble(bits[j], seeds[j])) + 0.5) * 0x1p-32;
            } else {
                for (std::size_t j = 0; j < axes; ++j) row[j] = static_cast<double>(bits[j]) * 0x1p-32;
            }
        }
    }
}

}  // namespace jaxhp::JAXHP_ISA
