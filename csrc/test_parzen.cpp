// Parzen estimators without Python, on every instruction set of this machine, and the sets against one another.
#include <algorithm>
#include <cstdio>
#include <string>

#include "check.hpp"
#include "parzen_case.hpp"

namespace {

using jaxhp::EncodedDims;
using jaxhp::Kernel;
using jaxhp::ParzenCase;

void one_normal_kernel_is_the_formula(const Kernel& kernel) {
    const EncodedDims dims({jaxhp::FLOAT}, {0}, {1}, {0}, {-1}, {1});
    for (const double h : {1e-3, 0.05, 0.3, 1.0}) {
        for (const double u : {0.0, 0.2, 0.5, 1.0}) {
            const ParzenCase one{dims, {u}, {0}, {3.0}, 1e-9, {h}};
            for (const double x : {u, 0.5 * (u + 0.5), 0.1, 0.9}) {
                const double z = (x - u) / h;
                const double mass = 0.5 * (std::erf((1.0 - u) / h / std::sqrt(2.0)) + std::erf(u / h / std::sqrt(2.0)));
                const double density = std::exp(-0.5 * z * z) / (std::sqrt(2.0 * std::acos(-1.0)) * h * mass);
                const double middle = std::exp(-0.5 * (x - 0.5) * (x - 0.5)) / (std::sqrt(2.0 * std::acos(-1.0)) * std::erf(0.5 / std::sqrt(2.0)));
                const double expected = std::log((3.0 * density + 1e-9 * middle) / (3.0 + 1e-9));
                CHECK(std::fabs(one.log_density(kernel, {x})[0] - expected) < 1e-11 * (1.0 + std::fabs(expected)));
            }
        }
    }
}

// A space of levels alone has finitely many points, and their probabilities sum to 1.
void levels_sum_to_one(const Kernel& kernel) {
    std::mt19937_64 random(1);
    const EncodedDims dims({jaxhp::CATEGORICAL, jaxhp::GRID, jaxhp::GRID_LOG, jaxhp::ORDINAL}, {0, 0, 1, 0}, {0, 99, 20, 0}, {3, 100, 20, 2},
                           {-1, 0, 0, -1}, {1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1});
    for (std::size_t n : {0u, 1u, 7u, 40u}) {
        const ParzenCase levels = ParzenCase::random(random, dims, n);
        std::vector<double> raw, at(4);
        double total = 0;
        for (double a = 0; a < 3; ++a)
            for (double b = 0; b < (a == 1 ? 1 : 100); ++b)
                for (double c = 0; c < (a == 0 ? 1 : 20); ++c)
                    for (double e = 0; e < 2; ++e) {
                        const double nan = std::nan("");
                        raw = {a, a == 1 ? nan : b, a == 0 ? nan : c, e};
                        kernel.encode(dims.view(), raw.data(), 1, at.data());
                        total += std::exp(levels.log_density(kernel, at)[0]);
                    }
        CHECK(std::fabs(total - 1.0) < 1e-10);
    }
}

void proposals_are_ranked_points_of_the_space(const Kernel& kernel) {
    std::mt19937_64 random(2);
    for (std::size_t round = 0; round < 30; ++round) {
        const ParzenCase better = ParzenCase::random(random, ParzenCase::mixed(), round);
        const ParzenCase worse = ParzenCase::random(random, ParzenCase::mixed(), 3 * round);
        const double share = round % 2 == 0 ? 0.0 : 0.25;
        const jaxhp::RatioView ratios[] = {{better.view(), worse.view(), share}, {worse.view(), better.view(), 0.5}};
        const jaxhp::ProposalView view{better.dims.view(), ratios, 1 + round % 2, 12, {3, 5, round}};
        const jaxhp::Memory memory = jaxhp::allocate(kernel.proposal_memory(view));
        std::vector<double> points(12 * better.d()), scores(12), snapped(points.size()), filled(points.size());
        kernel.propose(view, memory.get(), points.data(), scores.data());
        for (std::size_t i = 0; i < points.size(); ++i) filled[i] = std::isnan(points[i]) ? 0.5 : points[i];
        CHECK(kernel.snap(better.dims.view(), filled.data(), 12, snapped.data()) == jaxhp::NONE_BAD);
        for (std::size_t i = 0; i < points.size(); ++i)
            CHECK(points[i] == snapped[i] || (std::isnan(points[i]) && std::isnan(snapped[i])));
        const std::vector<double> l = better.log_density(kernel, points);
        const std::vector<double> g = worse.log_density(kernel, points);
        for (std::size_t c = 0; c < 12; ++c) {
            double expected = -std::log(share + (1.0 - share) * std::exp(g[c] - l[c]));
            if (view.ratio_count == 2) expected -= std::log(0.5 + 0.5 * std::exp(l[c] - g[c]));
            CHECK(std::fabs(scores[c] - expected) < 1e-9 * (1.0 + std::fabs(expected)));
            CHECK(c == 0 || scores[c] <= scores[c - 1]);
        }
    }
}

void paths_agree(const Kernel& kernel, const Kernel& baseline) {
    std::mt19937_64 random(3);
    for (std::size_t n = 0; n < 40; ++n) {
        const ParzenCase made = ParzenCase::random(random, ParzenCase::mixed(), n);
        const std::vector<double> at = ParzenCase::points(random, made.dims, 20);
        const std::vector<double> ours = made.log_density(kernel, at);
        const std::vector<double> theirs = made.log_density(baseline, at);
        for (std::size_t i = 0; i < at.size() / made.d(); ++i) CHECK(std::fabs(ours[i] - theirs[i]) < 1e-10 * (1.0 + std::fabs(theirs[i])));
    }
}

}  // namespace

int main() {
    const Kernel baseline = jaxhp::kernel_for("baseline");
    for (const std::string& isa : jaxhp::available_isas()) {
        const Kernel kernel = jaxhp::kernel_for(isa);
        one_normal_kernel_is_the_formula(kernel);
        levels_sum_to_one(kernel);
        proposals_are_ranked_points_of_the_space(kernel);
        paths_agree(kernel, baseline);
        std::printf("%s: ok\n", isa.c_str());
    }
    return 0;
}
