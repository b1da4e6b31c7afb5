// A bounded fuzzer of CMA-ES: any distribution, points that are huge, equal or not numbers, any levels. Run under the
// sanitizers by `make sanitize`. Every call ends, and finite points of a finite distribution give a finite one.
//   fuzz_cma [rounds] [seed]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "check.hpp"
#include "cma_case.hpp"

namespace {

using namespace jaxhp;

std::size_t below(std::mt19937_64& random, std::size_t n) { return static_cast<std::size_t>(random() % n); }

void updates(std::mt19937_64& random, const Kernel& kernel) {
    constexpr double conditions[] = {1.0, 1e3, 1e14, 1e30};
    constexpr double nasty[] = {0.0, 1e-300, 1e300, -1e300, INFINITY, NAN};
    const std::size_t n = 1 + below(random, below(random, 8) == 0 ? 90 : 12), popsize = 2 + below(random, 20);
    CmaCase made = CmaCase::random(random, kernel, n, popsize, below(random, 3) == 0, conditions[below(random, 4)]);
    const bool harmless = below(random, 2) == 0;
    const std::size_t spoiled = harmless ? 0 : 1 + below(random, 4);
    for (std::size_t i = 0; i < spoiled; ++i) {
        std::vector<double>* const rows[] = {&made.x, &made.mean, &made.C, &made.D, &made.p_sigma, &made.p_c, &made.weights};
        std::vector<double>& row = *rows[below(random, 7)];
        row[below(random, row.size())] = nasty[below(random, 6)];
    }
    if (below(random, 4) == 0) made.sigma = harmless ? 1e-12 : nasty[below(random, 6)];
    std::vector<std::uint8_t> foreign(popsize);
    for (std::uint8_t& flag : foreign) flag = random() % 2;
    const auto [finite, after] = made.update(kernel, below(random, 2) == 0 ? foreign.data() : nullptr, below(random, 2) == 0);
    if (!harmless) return;
    CHECK(finite && std::isfinite(after.sigma) && after.sigma > 0.0);
    for (const std::vector<double>* row : {&after.mean, &after.C, &after.p_sigma, &after.p_c, &after.B, &after.D})
        for (const double entry : *row) CHECK(std::isfinite(entry));
    for (const double deviation : after.D) CHECK(deviation > 0.0);
}

void draws(std::mt19937_64& random, const Kernel& kernel) {
    const std::size_t n = below(random, 20), c = below(random, 5), k = below(random, 6), d = n + c, width = 1 + below(random, 9);
    std::vector<std::int64_t> dims(d), levels(c), usual(c), numbers(k), attempts(k), chosen(k * c);
    for (std::size_t j = 0; j < d; ++j) dims[j] = static_cast<std::int64_t>(j);
    std::shuffle(dims.begin(), dims.end(), random);
    std::vector<std::uint8_t> bounded(n);
    for (std::uint8_t& flag : bounded) flag = random() % 2;
    std::vector<double> mean(n), D(n), A(n), B(n * n), q(c * width), scratch(n + d), v(k * d), x(k * n);
    for (std::vector<double>* row : {&mean, &D, &A, &B, &q})
        for (double& entry : *row) entry = below(random, 30) == 0 ? NAN : signed_uniform(random);
    for (std::size_t j = 0; j < c; ++j) usual[j] = static_cast<std::int64_t>(below(random, static_cast<std::size_t>(levels[j] = 1 + static_cast<std::int64_t>(below(random, width)))));
    for (std::size_t i = 0; i < k; ++i) {
        numbers[i] = static_cast<std::int64_t>(random()) >> below(random, 63);
        attempts[i] = static_cast<std::int64_t>(below(random, 120));
    }
    const CmaDrawView view{n, c, dims.data(), bounded.data(), dims.data() + n, levels.data(), mean.data(), 0.3, B.data(), D.data(),
                           below(random, 2) == 0, A.data(), q.data(), width, usual.data(), random(), random()};
    kernel.cma_draw(view, numbers.data(), k, scratch.data(), v.data(), x.data(), chosen.data(), attempts.data());
    for (std::size_t i = 0; i < k; ++i) {
        for (std::size_t j = 0; j < c; ++j) CHECK(chosen[i * c + j] >= 0 && chosen[i * c + j] < levels[j]);
        for (std::size_t j = 0; j < n; ++j) CHECK(bounded[j] == 0 || !(v[i * d + static_cast<std::size_t>(dims[j])] < 0.0 || v[i * d + static_cast<std::size_t>(dims[j])] > 1.0));
    }
}

}  // namespace

int main(int count, char** words) {
    const std::size_t rounds = count > 1 ? static_cast<std::size_t>(std::atoll(words[1])) : 400;
    std::mt19937_64 random(count > 2 ? static_cast<std::uint64_t>(std::atoll(words[2])) : 0);
    for (const std::string& isa : available_isas()) {
        const Kernel kernel = kernel_for(isa);
        for (std::size_t round = 0; round < rounds; ++round) {
            updates(random, kernel);
            draws(random, kernel);
        }
        std::printf("%s: %zu rounds\n", isa.c_str(), rounds);
    }
    return 0;
}
