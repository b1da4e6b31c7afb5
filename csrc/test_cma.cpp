// CMA-ES without Python, on every instruction set of this machine, and the sets against one another.
#include <cstdio>
#include <string>

#include "check.hpp"
#include "cma_case.hpp"

namespace {

using jaxhp::CmaCase;
using jaxhp::Kernel;

// C = B diag(D^2) B^T with orthogonal B and rising D.
void decompositions_give_the_matrix_back(const Kernel& kernel) {
    std::mt19937_64 random(1);
    for (std::size_t n = 1; n <= 70; n += n < 20 ? 1 : 7)
        for (const double condition : {1.0, 1e6, 1e14}) {
            const CmaCase made = CmaCase::random(random, kernel, n, 4, false, condition);
            double largest = 0;
            for (const double entry : made.C) largest = std::fmax(largest, std::fabs(entry));
            for (std::size_t i = 0; i < n; ++i) {
                CHECK(i == 0 || made.D[i] >= made.D[i - 1]);
                for (std::size_t j = 0; j < n; ++j) {
                    double product = 0, entry = 0;
                    for (std::size_t k = 0; k < n; ++k) {
                        product += made.B[k * n + i] * made.B[k * n + j];
                        entry += made.B[i * n + k] * made.D[k] * made.D[k] * made.B[j * n + k];
                    }
                    CHECK(std::fabs(product - (i == j ? 1.0 : 0.0)) < 1e-13 * static_cast<double>(n + 10));
                    CHECK(std::fabs(entry - made.C[i * n + j]) < 1e-14 * static_cast<double>(n + 10) * largest);
                }
            }
        }
}

void multiples_of_the_identity_and_blocks_are_decomposed_exactly(const Kernel& kernel) {
    const jaxhp::CmaConstants made{4, 4, 2, nullptr, 0, 0, 0, 0, 0, 0, 0, false};
    const double C[] = {9, 0, 0, 0, 0, 4, 0, 0, 0, 0, 16, 0, 0, 0, 0, 4};
    double B[16], D[4];
    const jaxhp::Memory memory = jaxhp::allocate(kernel.cma_memory(made));
    CHECK(kernel.cma_decompose(made, C, memory.get(), B, D));
    CHECK(D[0] == 2 && D[1] == 2 && D[2] == 3 && D[3] == 4);
    const double infinite[] = {INFINITY, 0, 0, 0, 1, 4, 0, 0, 0, 0, NAN, 0, 0, 0, 1, 4};
    CHECK(!kernel.cma_decompose(made, infinite, memory.get(), B, D));
}

void paths_agree(const Kernel& kernel, const Kernel& baseline) {
    std::mt19937_64 random(2);
    for (std::size_t n = 1; n <= 40; ++n)
        for (const bool separable : {false, true}) {
            const CmaCase made = CmaCase::random(random, baseline, n, 5 + n % 4, separable, 100.0);
            const std::uint8_t foreign[] = {1, 0, 0, 0, 1, 0, 1, 0};
            const auto [fine, ours] = made.update(kernel, n % 2 == 0 ? foreign : nullptr, true);
            const auto [also, theirs] = made.update(baseline, n % 2 == 0 ? foreign : nullptr, true);
            CHECK(fine && also && std::fabs(ours.sigma - theirs.sigma) < 1e-11);
            for (std::size_t i = 0; i < made.C.size(); ++i) CHECK(std::fabs(ours.C[i] - theirs.C[i]) < 1e-10);
            for (std::size_t j = 0; j < n; ++j) CHECK(std::fabs(ours.mean[j] - theirs.mean[j]) < 1e-11);
        }
}

// The third draw is on the bounds, number 0 the mean, and a row the same whoever is drawn with it.
void draws_are_named_by_their_numbers(const Kernel& kernel) {
    const double mean[] = {0.5, 0.9}, D[] = {1.0, 2.0}, A[] = {1.0, 1.0}, q[] = {0.2, 0.8, 0.0};
    const std::int64_t numeric[] = {2, 0}, categorical[] = {1}, levels[] = {2}, usual[] = {1}, numbers[] = {0, 1, 2, 3, 4, 5, 6, 7};
    const std::uint8_t bounded[] = {1, 1};
    const jaxhp::CmaDrawView view{2, 1, numeric, bounded, categorical, levels, mean, 1.0, nullptr, D, true, A, q, 3, usual, 7, 9};
    double scratch[5], v[24], x[16], alone[3], point[2];
    std::int64_t chosen[8], attempts[8] = {0, 0, 0, 0, 0, 0, 0, 0}, level, attempt = 0;
    kernel.cma_draw(view, numbers, 8, scratch, v, x, chosen, attempts);
    CHECK(v[2] == 0.5 && v[0] == 0.9 && v[1] == 0.75 && chosen[0] == 1 && attempts[0] == 0);
    kernel.cma_draw(view, numbers + 5, 1, scratch, alone, point, &level, &attempt);
    for (std::size_t j = 0; j < 3; ++j) CHECK(alone[j] == v[15 + j]);
    bool thirds = false;
    for (std::size_t i = 0; i < 8; ++i) {
        for (const double coordinate : {v[3 * i], v[3 * i + 2]}) CHECK(coordinate >= 0.0 && coordinate <= 1.0);
        CHECK(v[3 * i] == std::fmin(std::fmax(x[2 * i + 1], 0.0), 1.0) && v[3 * i + 2] == std::fmin(std::fmax(x[2 * i], 0.0), 1.0));
        CHECK(attempts[i] == 2 || (attempts[i] < 2 && v[3 * i] == x[2 * i + 1] && v[3 * i + 2] == x[2 * i]));
        thirds = thirds || (attempts[i] == 2 && (v[3 * i] != x[2 * i + 1] || v[3 * i + 2] != x[2 * i]));
    }
    CHECK(thirds);
}

}  // namespace

int main() {
    const Kernel baseline = jaxhp::kernel_for("baseline");
    for (const std::string& isa : jaxhp::available_isas()) {
        const Kernel kernel = jaxhp::kernel_for(isa);
        decompositions_give_the_matrix_back(kernel);
        multiples_of_the_identity_and_blocks_are_decomposed_exactly(kernel);
        paths_agree(kernel, baseline);
        draws_are_named_by_their_numbers(kernel);
        std::printf("%s: ok\n", isa.c_str());
    }
    return 0;
}
