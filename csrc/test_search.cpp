// The search of a posterior without Python, on every instruction set of this machine, and the sets against one another.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "check.hpp"
#include "search_case.hpp"

namespace {

using jaxhp::Found;
using jaxhp::Kernel;
using jaxhp::RandomPosterior;
using jaxhp::SearchCase;
using jaxhp::Term;

bool near(double a, double b, double tolerance) { return std::fabs(a - b) <= tolerance * (1.0 + std::fabs(b)); }

// Mean and variance by solving with the dense Linv, one point at a time.
void slow_predict(const RandomPosterior& p, const double* u, double& mean, double& variance) {
    std::vector<double> k(p.n);
    mean = p.mean;
    variance = p.theta[p.d];
    for (std::size_t i = 0; i < p.n; ++i) {
        k[i] = slow_kernel(p, p.X.data() + i, p.capacity, u, 1);
        mean += k[i] * p.alpha[i];
    }
    for (std::size_t i = 0; i < p.n; ++i) {
        double v = 0;
        for (std::size_t j = 0; j <= i; ++j) v += p.Linv[i * p.capacity + j] * k[j];
        variance -= v * v;
    }
}

void moments_are_those_of_the_formula(const Kernel& kernel) {
    std::mt19937_64 random(1);
    for (const std::size_t n : {1u, 2u, 15u, 16u, 17u, 64u}) {
        for (const std::size_t capacity : {n, n + 1, std::size_t{64}}) {
            const SearchCase search = SearchCase::mixed(random, n, std::max(capacity, n), 1e-3);
            const jaxhp::PosteriorView view = search.posterior.view();
            std::vector<double> mean(search.centres.size() / view.d);
            std::vector<double> variance(mean.size());
            const jaxhp::AlignedMemory memory(kernel.predict_memory(view));
            kernel.predict(view, search.centres.data(), mean.size(), memory.data(), mean.data(), variance.data());
            for (std::size_t i = 0; i < mean.size(); ++i) {
                double slow_mean = 0;
                double slow_variance = 0;
                slow_predict(search.posterior, search.centres.data() + i * view.d, slow_mean, slow_variance);
                CHECK(near(mean[i], slow_mean, 1e-9));
                CHECK(near(variance[i], slow_variance, 1e-9));
            }
        }
    }
}

void suggestions_are_new_points_of_the_space(const Kernel& kernel) {
    std::mt19937_64 random(2);
    for (std::size_t round = 0; round < 40; ++round) {
        const SearchCase search = SearchCase::mixed(random, 1 + round, 64, 1e-4);
        for (const std::int32_t type : {jaxhp::LOGEI, jaxhp::UCB, jaxhp::LOGPI, jaxhp::PATH}) {
            const Term term{type, 0, type == jaxhp::UCB ? 2.0 : -1.0, 0.0};
            std::vector<double> u(search.d());
            const Found found = search.run(kernel, {term}, round, u.data());
            CHECK(found.how != jaxhp::NOT_FINITE && found.how != jaxhp::REPEATED);
            CHECK(std::isfinite(found.value));
            CHECK(search.is_canonical(kernel, u.data()));
            CHECK(!search.is_known(u.data()));
            std::vector<double> again(search.d());
            const Found same = search.run(kernel, {term}, round, again.data());
            CHECK(same.value == found.value && search.equal_bits(u, again));
        }
    }
}

void paths_agree(const Kernel& kernel, const Kernel& baseline) {
    std::mt19937_64 random(3);
    for (std::size_t round = 0; round < 20; ++round) {
        const SearchCase search = SearchCase::mixed(random, 10 + 3 * round, 128, 1e-3);
        const std::size_t m = search.centres.size() / search.d();
        std::vector<double> value(m), other(m), gradient(search.centres.size()), slope(search.centres.size());
        const Term terms[] = {{jaxhp::LOGEI, 0, -1.0, 0.0}, {jaxhp::LOGPI, 0, 0.3, 0.0}, {jaxhp::PATH, 0, 0.0, 0.0}};
        const jaxhp::PosteriorView view = search.posterior.view();
        const jaxhp::AcquisitionView sum{&view, 1, terms, 3, {1, 2, 3}};
        const jaxhp::AlignedMemory memory(kernel.evaluate_memory(sum));
        const jaxhp::AlignedMemory scratch(baseline.evaluate_memory(sum));
        kernel.evaluate(sum, search.centres.data(), m, memory.data(), value.data(), gradient.data());
        baseline.evaluate(sum, search.centres.data(), m, scratch.data(), other.data(), slope.data());
        for (std::size_t i = 0; i < m; ++i) CHECK(near(value[i], other[i], 1e-7));
        for (std::size_t i = 0; i < gradient.size(); ++i) CHECK(near(gradient[i], slope[i], 1e-5));
    }
}

}  // namespace

int main() {
    const Kernel baseline = jaxhp::kernel_for("baseline");
    for (const std::string& isa : jaxhp::available_isas()) {
        const Kernel kernel = jaxhp::kernel_for(isa);
        moments_are_those_of_the_formula(kernel);
        suggestions_are_new_points_of_the_space(kernel);
        paths_agree(kernel, baseline);
        std::printf("%s: ok\n", isa.c_str());
    }
    return 0;
}
