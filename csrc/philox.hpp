// Philox4x64-10: Salmon, Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011, table 2 and section 3.3.
// A draw is a function of (key, counter) alone, so a trial's numbers need no state and no order. NumPy's Philox advances the
// counter before it draws, so the first block has counter 1; a double is the upper 53 bits of a word times 2^-53.
#pragma once

#include <cstddef>
#include <cstdint>

namespace jaxhp::JAXHP_ISA {

struct PhiloxBlock {
    std::uint64_t word[4];
};

inline PhiloxBlock philox_block(std::uint64_t c0, std::uint64_t c1, std::uint64_t c2, std::uint64_t c3,
                                std::uint64_t k0, std::uint64_t k1) {
    __extension__ using Wide = unsigned __int128;
    for (int round = 0; round < 10; ++round) {
        const Wide even = static_cast<Wide>(0xD2E7470EE14C6C93u) * c0;
        const Wide odd = static_cast<Wide>(0xCA5A826395121157u) * c2;
        const std::uint64_t n0 = static_cast<std::uint64_t>(odd >> 64) ^ c1 ^ k0;
        const std::uint64_t n2 = static_cast<std::uint64_t>(even >> 64) ^ c3 ^ k1;
        c1 = static_cast<std::uint64_t>(odd);
        c3 = static_cast<std::uint64_t>(even);
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B97F4A7C15u;  // golden ratio
        k1 += 0xBB67AE8584CAA73Bu;  // sqrt(3) - 1
    }
    return {{c0, c1, c2, c3}};
}

inline void philox(std::uint64_t seed, std::uint64_t purpose, const std::int64_t* numbers, std::size_t k, std::size_t d,
                   std::uint64_t attempt, double* out) {
    for (std::size_t i = 0; i < k; ++i) {
        const std::uint64_t number = static_cast<std::uint64_t>(numbers[i]);
        double* row = out + i * d;
        for (std::size_t j = 0; j < d; j += 4) {
            const PhiloxBlock block = philox_block(j / 4 + 1, number, attempt, 0, seed, purpose);
            const std::size_t width = d - j < 4 ? d - j : 4;
            for (std::size_t w = 0; w < width; ++w) row[j + w] = static_cast<double>(block.word[w] >> 11) * 0x1p-53;
        }
    }
}

}  // namespace jaxhp::JAXHP_ISA
