// A random space of every kind with conditions, points in it and an estimator of them, for the C++ tests.
#pragma once

#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "dims.hpp"
#include "dispatch.hpp"
#include "memory.hpp"

namespace jaxhp {

struct ParzenCase {
    EncodedDims dims;
    std::vector<double> u;  // (n, d) canonical
    std::vector<std::int64_t> rows;
    std::vector<double> weights;
    double prior;
    std::vector<double> bandwidth;

    std::size_t d() const { return dims.d(); }
    ParzenView view() const { return {u.data(), rows.data(), rows.size(), weights.data(), prior, bandwidth.data()}; }

    static double uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

    static std::vector<double> points(std::mt19937_64& random, const EncodedDims& dims, std::size_t n) {
        std::vector<double> raw(n * dims.d()), u(raw.size());
        for (double& value : raw) value = uniform(random);
        kernel_for("baseline").snap(dims.view(), raw.data(), n, u.data());
        return u;
    }

    // Dims of every kind, with and without a table of levels; dim 1 depends on two levels of dim 0, dims 6 and 7 on one.
    static EncodedDims mixed() {
        return EncodedDims({CATEGORICAL, FLOAT, GRID, FLOAT_LOG, ORDINAL, GRID_LOG, CATEGORICAL, GRID_LOG}, {0, -1, 0, 1e-3, 0, 1, 0, 1},
                           {0, 1, 999, 1, 0, 40, 0, 500}, {3, 0, 1000, 0, 5, 40, 70, 500}, {-1, 0, -1, -1, -1, -1, 0, 0},
                           {1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 1, 0});
    }

    static ParzenCase random(std::mt19937_64& random, EncodedDims dims, std::size_t n) {
        ParzenCase made{std::move(dims), {}, {}, {}, 0.1 + uniform(random), {}};
        made.u = points(random, made.dims, n);
        for (std::size_t i = 0; i < n; ++i) {
            made.rows.push_back(static_cast<std::int64_t>(random() % n));
            made.weights.push_back(0.01 + uniform(random));
        }
        for (std::size_t j = 0; j < made.d(); ++j) made.bandwidth.push_back(0.02 + 0.9 * uniform(random));
        return made;
    }

    std::vector<double> log_density(const Kernel& kernel, const std::vector<double>& at) const {
        std::vector<double> out(at.size() / d());
        const Memory memory = allocate(kernel.density_memory(dims.view(), view()));
        kernel.log_density(dims.view(), view(), at.data(), out.size(), memory.get(), out.data());
        return out;
    }
};

}  // namespace jaxhp
