// A random space, a posterior over it and a search of both, for the C++ tests.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "dims.hpp"
#include "dispatch.hpp"
#include "random_posterior.hpp"

namespace jaxhp {

class AlignedMemory {
  public:
    explicit AlignedMemory(std::size_t bytes)
        : data_(static_cast<unsigned char*>(::operator new(bytes, std::align_val_t{64}))) {}
    ~AlignedMemory() { ::operator delete(data_, std::align_val_t{64}); }
    AlignedMemory(const AlignedMemory&) = delete;
    AlignedMemory& operator=(const AlignedMemory&) = delete;
    unsigned char* data() const { return data_; }

  private:
    unsigned char* data_;
};

struct SearchCase {
    EncodedDims dims;
    RandomPosterior posterior;
    std::vector<double> centres;   // canonical rows, as are those of `existing`
    std::vector<double> existing;
    std::size_t spread = 64;
    std::size_t local = 64;
    std::size_t starts = 4;
    std::size_t iterations = 20;
    bool allow_duplicates = false;

    std::size_t d() const { return dims.d(); }

    // Dims of every kind; 1 depends on two levels of dim 0 and dim 5 on one level of it.
    static SearchCase mixed(std::mt19937_64& random, std::size_t n, std::size_t capacity, double noise) {
        EncodedDims dims({CATEGORICAL, FLOAT, GRID, FLOAT_LOG, ORDINAL, GRID_LOG, FLOAT}, {0, -1, 0, 1e-3, 0, 1, 0},
                         {0, 1, 99, 1, 0, 64, 1}, {3, 0, 100, 0, 5, 64, 0}, {-1, 0, -1, -1, -1, 0, -1},
                         {1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1});
        RandomPosterior posterior = random_posterior(random, n, {1, 0, 0, 0, 0, 0, 0}, {3, 0, 100, 0, 5, 0, 0}, capacity, noise);
        SearchCase search{std::move(dims), std::move(posterior), {}, {}};
        const Kernel kernel = kernel_for("baseline");
        std::vector<double> rows(n * 7);
        search.existing.resize(rows.size());
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = 0; j < 7; ++j) rows[i * 7 + j] = search.posterior.X[j * capacity + i];
        kernel.snap(search.dims.view(), rows.data(), n, search.existing.data());
        search.centres = search.existing;
        search.centres.resize(std::min<std::size_t>(n, 5) * 7);
        return search;
    }

    Found run(const Kernel& kernel, const std::vector<Term>& terms, std::uint64_t number, double* out) const {
        const PosteriorView view = posterior.view();
        const AcquisitionView sum{&view, 1, terms.data(), terms.size(), {7, 11, number}};
        const SearchView search{dims.view(), centres.data(), centres.size() / d(), existing.data(), existing.size() / d(),
                                nullptr,     0,              spread,               local,           starts,
                                iterations,  allow_duplicates};
        const AlignedMemory memory(kernel.search_memory(sum, search));
        return kernel.maximize(sum, search, memory.data(), out);
    }

    // snap changes nothing, NaN is exactly where it would put it, and the rest is in [0, 1].
    bool is_canonical(const Kernel& kernel, const double* u) const {
        std::vector<double> filled(u, u + d());
        for (double& value : filled)
            if (std::isnan(value)) value = 0.5;
        std::vector<double> snapped(d());
        if (kernel.snap(dims.view(), filled.data(), 1, snapped.data()) != NONE_BAD) return false;
        for (std::size_t j = 0; j < d(); ++j) {
            if (std::isnan(u[j]) != std::isnan(snapped[j])) return false;
            if (!std::isnan(u[j]) && !(u[j] == snapped[j] && u[j] >= 0.0 && u[j] <= 1.0)) return false;
        }
        return true;
    }

    bool is_known(const double* u) const {
        for (std::size_t i = 0; i < existing.size() / d(); ++i) {
            bool same = true;
            for (std::size_t j = 0; j < d(); ++j) {
                const double known = existing[i * d() + j];
                same = same && (std::isnan(known) ? std::isnan(u[j]) : std::fabs(known - u[j]) <= 1e-6);
            }
            if (same) return true;
        }
        return false;
    }

    static bool equal_bits(const std::vector<double>& a, const std::vector<double>& b) {
        return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
    }
};

}  // namespace jaxhp
