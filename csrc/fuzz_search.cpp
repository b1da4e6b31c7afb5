// A bounded fuzzer of posterior and search: random spaces, posteriors with any content, any counts. Run under the sanitizers
// by `make sanitize`. Whatever the posterior holds, the suggestion is a canonical point and the value finite or declared not to be.
//   fuzz_search [rounds] [seed]
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

#include "check.hpp"
#include "random_dims.hpp"
#include "search_case.hpp"

namespace {

using namespace jaxhp;

using Random = std::mt19937_64;

double hostile(Random& random) {
    constexpr double values[] = {0.0,   -0.0,   1.0,  -1.0, 1e-300, 5e-324, 1e300, -1e300, 1e30, -1e30, 1e-30, 0.5,
                                 1e154, 1e-154, 1e19, 1e38, 1e39,   std::numeric_limits<double>::quiet_NaN(),
                                 std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
    return values[below(random, sizeof values / sizeof values[0])];
}

void spoil(Random& random, std::vector<double>& values) {
    if (values.empty()) return;
    const std::size_t count = below(random, 4) == 0 ? values.size() : 1 + below(random, 3);
    for (std::size_t i = 0; i < count; ++i) values[below(random, values.size())] = hostile(random);
}

SearchCase random_case(Random& random) {
    const std::size_t d = 1 + below(random, below(random, 8) == 0 ? 40 : 6);
    const std::size_t n = below(random, 8) == 0 ? 1 : 1 + below(random, 50);
    EncodedDims dims = random_dims(random, d);
    std::vector<std::int8_t> kind(d);
    for (std::size_t j = 0; j < d; ++j) kind[j] = dims.view().kind[j] == CATEGORICAL ? 1 : 0;
    constexpr double noises[] = {1e-6, 1e-4, 1e-2, 1.0};
    SearchCase search{std::move(dims),
                      random_posterior(random, n, kind, std::vector<double>(d, 0.0), n + below(random, 20), noises[below(random, 4)]),
                      {},
                      {}};
    const Kernel baseline = kernel_for("baseline");
    std::vector<double> rows(n * d);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < d; ++j) rows[i * d + j] = search.posterior.X[j * search.posterior.capacity + i];
    search.existing.resize(n * d);
    baseline.snap(search.dims.view(), rows.data(), n, search.existing.data());
    search.centres = search.existing;
    search.centres.resize(below(random, n + 1) * d);
    search.spread = 1 + below(random, 80);
    search.local = below(random, 60);
    search.starts = 1 + below(random, below(random, 4) == 0 ? MOST_STARTS : 4);
    search.iterations = below(random, 25);
    search.allow_duplicates = random() % 2 == 0;
    return search;
}

void one_round(Random& random, const Kernel& kernel) {
    SearchCase search = random_case(random);
    RandomPosterior& p = search.posterior;
    const bool valid = random() % 2 == 0;
    if (!valid) {
        std::vector<double>* const fields[] = {&p.X, &p.Linv, &p.alpha, &p.noise, &p.theta};
        for (std::size_t i = 0; i < 1 + below(random, 3); ++i) spoil(random, *fields[below(random, 5)]);
        if (below(random, 5) == 0) p.mean = hostile(random);
    }
    if (below(random, 20) == 0) p.n = 0;
    std::vector<Term> terms;
    for (std::size_t t = 0; t < 1 + below(random, 3); ++t) {
        const double a = valid ? -1.0 + 2.0 * static_cast<double>(below(random, 100)) / 100.0 : hostile(random);
        const std::int32_t type = static_cast<std::int32_t>(below(random, TERM_TYPES));
        terms.push_back({type, 0, type == UCB && valid ? std::fabs(a) : a, 0.0});
    }
    std::vector<double> u(search.d());
    const std::uint64_t number = random();
    const Found found = search.run(kernel, terms, number, u.data());
    CHECK(search.is_canonical(kernel, u.data()));
    CHECK(std::isfinite(found.value) || (found.how == NOT_FINITE && std::isnan(found.value)));
    if (valid) CHECK(found.how != NOT_FINITE);
    if (!search.allow_duplicates && found.how < REPEATED) CHECK(!search.is_known(u.data()));

    const PosteriorView view = p.view();
    const AcquisitionView sum{&view, 1, terms.data(), terms.size(), {1, 2, number}};
    const std::size_t m = search.existing.size() / search.d();
    std::vector<double> values(m), gradients(search.existing.size()), variance(m);
    std::vector<std::size_t> chosen(m);
    const AlignedMemory scratch(kernel.evaluate_memory(sum));
    kernel.evaluate(sum, search.existing.data(), m, scratch.data(), values.data(), gradients.data());
    const AlignedMemory memory(kernel.predict_memory(view));
    kernel.predict(view, search.existing.data(), m, memory.data(), values.data(), variance.data());
    const AlignedMemory pool(kernel.choice_memory(sum, m));
    std::size_t scored = 0;
    const std::size_t wanted = below(random, m + 1);
    const std::size_t count =
        kernel.best_of(sum, search.existing.data(), m, pool.data(), wanted, chosen.data(), values.data(), &scored);
    CHECK(count <= wanted && scored <= m);
    for (std::size_t i = 0; i < count; ++i) CHECK(chosen[i] < m && std::isfinite(values[i]) && (i == 0 || values[i] <= values[i - 1]));
}

}  // namespace

int main(int count, char** words) {
    const std::size_t rounds = count > 1 ? static_cast<std::size_t>(std::atoll(words[1])) : 400;
    Random random(count > 2 ? static_cast<std::uint64_t>(std::atoll(words[2])) : 0);
    for (const std::string& isa : available_isas()) {
        const Kernel kernel = kernel_for(isa);
        for (std::size_t round = 0; round < rounds; ++round) one_round(random, kernel);
        std::printf("%s: %zu rounds\n", isa.c_str(), rounds);
    }
    return 0;
}
