// A bounded fuzzer of Parzen estimators: random spaces, any points of them, any allowed weights and bandwidths. Run under the
// sanitizers by `make sanitize`. Densities are numbers, and proposals points of the space.
//   fuzz_parzen [rounds] [seed]
#include <cstdio>
#include <cstdlib>
#include <string>

#include "check.hpp"
#include "parzen_case.hpp"
#include "random_dims.hpp"

namespace {

using namespace jaxhp;

ParzenCase random_case(std::mt19937_64& random, const EncodedDims& dims) {
    ParzenCase made = ParzenCase::random(random, dims, below(random, below(random, 4) == 0 ? 200 : 12));
    constexpr double bandwidths[] = {1e-300, 1e-12, 1e-3, 0.2, 1.0};
    constexpr double weights[] = {1e-300, 1e-9, 1.0, 1e99};
    for (double& h : made.bandwidth) h = below(random, 3) == 0 ? bandwidths[below(random, 5)] : h;
    for (double& w : made.weights) w = below(random, 4) == 0 ? weights[below(random, 4)] : w;
    if (below(random, 4) == 0) made.prior = weights[below(random, 4)];
    return made;
}

void one_round(std::mt19937_64& random, const Kernel& kernel) {
    const std::size_t d = 1 + below(random, below(random, 8) == 0 ? 40 : 6);
    const EncodedDims dims = random_dims(random, d);
    const ParzenCase better = random_case(random, dims);
    const ParzenCase worse = random_case(random, dims);
    const std::vector<double> at = ParzenCase::points(random, dims, 1 + below(random, 20));
    for (const double value : better.log_density(kernel, at)) CHECK(!std::isnan(value) && value < 1e6);
    const RatioView ratios[] = {{better.view(), worse.view(), 0.0}, {worse.view(), better.view(), ParzenCase::uniform(random)}};
    const std::size_t candidates = 1 + below(random, 30);
    const ProposalView view{dims.view(), ratios, 1 + below(random, 2), candidates, {random(), random(), random()}};
    const Memory memory = allocate(kernel.proposal_memory(view));
    std::vector<double> points(candidates * d), scores(candidates), filled(points.size()), snapped(points.size());
    kernel.propose(view, memory.get(), points.data(), scores.data());
    for (std::size_t i = 0; i < points.size(); ++i) filled[i] = std::isnan(points[i]) ? 0.5 : points[i];
    CHECK(kernel.snap(dims.view(), filled.data(), candidates, snapped.data()) == NONE_BAD);
    for (std::size_t i = 0; i < points.size(); ++i) CHECK(points[i] == snapped[i] || (std::isnan(points[i]) && std::isnan(snapped[i])));
    for (std::size_t c = 0; c < candidates; ++c) CHECK(!std::isnan(scores[c]) && (c == 0 || scores[c] <= scores[c - 1]));
}

}  // namespace

int main(int count, char** words) {
    const std::size_t rounds = count > 1 ? static_cast<std::size_t>(std::atoll(words[1])) : 300;
    std::mt19937_64 random(count > 2 ? static_cast<std::uint64_t>(std::atoll(words[2])) : 0);
    for (const std::string& isa : available_isas()) {
        const Kernel kernel = kernel_for(isa);
        for (std::size_t round = 0; round < rounds; ++round) one_round(random, kernel);
        std::printf("%s: %zu rounds\n", isa.c_str(), rounds);
    }
    return 0;
}
