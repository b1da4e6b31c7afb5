// A random distribution of CMA-ES and points for its update, for the C++ tests.
#pragma once

#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "dispatch.hpp"
#include "memory.hpp"

namespace jaxhp {

inline double signed_uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-52 - 1.0; }

struct CmaCase {
    CmaConstants made;
    std::vector<double> weights, mean, C, p_sigma, p_c, B, D, x;
    double sigma = 0.3;

    CmaConstants constants() const {
        CmaConstants pointed = made;
        pointed.weights = weights.data();
        return pointed;
    }
    CmaView view() const { return {mean.data(), sigma, C.data(), p_sigma.data(), p_c.data(), B.data(), D.data(), 3.0}; }

    // C = M M^T of a random M whose columns' lengths fall by `condition` in all.
    static CmaCase random(std::mt19937_64& random, const Kernel& kernel, std::size_t n, std::size_t popsize, bool separable, double condition) {
        CmaCase made{{n, popsize, popsize / 2, nullptr, 3.0, 0.3, 1.3, 0.2, 0.05, 0.1, std::sqrt(static_cast<double>(n)), separable}, {}, {}, {}, {}, {}, {}, {}, {}};
        for (std::size_t i = 0; i < popsize; ++i) made.weights.push_back(i < popsize / 2 ? 2.0 / static_cast<double>(popsize) : -0.1);
        std::vector<double> M(n * n);
        for (std::size_t i = 0; i < n * n; ++i)
            M[i] = signed_uniform(random) * std::pow(condition, -0.5 * static_cast<double>(i % n) / static_cast<double>(n > 1 ? n - 1 : 1));
        made.C.assign(separable ? n : n * n, 0.0);
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = 0; j < (separable ? 1 : n); ++j)
                for (std::size_t k = 0; k < n; ++k) made.C[separable ? i : i * n + j] += M[i * n + k] * M[(separable ? i : j) * n + k];
        made.B.resize(separable ? 0 : n * n);
        made.D.resize(n);
        if (separable) {
            for (std::size_t i = 0; i < n; ++i) made.D[i] = std::sqrt(made.C[i]);
        } else {
            const Memory memory = allocate(kernel.cma_memory(made.constants()));
            kernel.cma_decompose(made.constants(), made.C.data(), memory.get(), made.B.data(), made.D.data());
        }
        for (auto* row : {&made.mean, &made.p_sigma, &made.p_c})
            for (std::size_t j = 0; j < n; ++j) row->push_back(signed_uniform(random));
        for (std::size_t i = 0; i < popsize * n; ++i) made.x.push_back(made.mean[i % n] + 0.3 * signed_uniform(random));
        return made;
    }

    // Whether it succeeded, and what came of it.
    std::pair<bool, CmaCase> update(const Kernel& kernel, const std::uint8_t* foreign, bool due) const {
        CmaCase after = *this;
        const Memory memory = allocate(kernel.cma_memory(constants()));
        const CmaResult result{after.mean.data(), &after.sigma,   after.C.data(), after.p_sigma.data(),
                               after.p_c.data(),  after.B.data(), after.D.data()};
        const bool finite = kernel.cma_update(constants(), view(), x.data(), foreign, due, memory.get(), result);
        return {finite, after};
    }
};

}  // namespace jaxhp
