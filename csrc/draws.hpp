// Random numbers inside one call, by name: Philox with key (seed, purpose) and counter (block, number, 0, use). `use` keeps
// the streams of one call apart, and apart from `rng` and `uniform` (jaxhp/_rng.py), whose counters end in 0.
#pragma once

#include "kernel.hpp"
#include "philox.hpp"
#include "ppf.hpp"

namespace jaxhp::JAXHP_ISA {

enum Use : std::uint64_t { SHIFT = 1, LOCAL = 2, FILL = 3, REPLACEMENT = 4, FEATURE = 5, PROPOSAL = 6 };

struct Stream {
    DrawName name;
    std::uint64_t use;
    std::uint64_t block;
    std::size_t left;
    PhiloxBlock words;
};

inline Stream stream(const DrawName& name, std::uint64_t use) { return {name, use, 0, 0, {}}; }

inline std::uint64_t next_word(Stream& s) {
    if (s.left == 0) {
        s.words = philox_block(++s.block, s.name.number, 0, s.use, s.name.seed, s.name.purpose);
        s.left = 4;
    }
    return s.words.word[4 - s.left--];
}

// In (0, 1).
inline double next_uniform(Stream& s) { return (static_cast<double>(next_word(s) >> 12) + 0.5) * 0x1p-52; }

inline double next_normal(Stream& s) { return ppf(next_uniform(s)); }

// A sum of four 16-bit uniforms, standardised: normal enough for a perturbation, bounded by 3.5, and exact everywhere.
inline double rough_normal(std::uint64_t word) {
    const std::uint64_t total = (word & 0xffff) + ((word >> 16) & 0xffff) + ((word >> 32) & 0xffff) + (word >> 48);
    return (static_cast<double>(total) - 2.0 * 65535.0) * (1.7320508075688772 / 65536.0);
}

// The finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
inline std::uint64_t mixed(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

}  // namespace jaxhp::JAXHP_ISA
