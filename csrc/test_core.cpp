// The kernel without Python: every function on every instruction set of this machine, and the paths against one another.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "dims.hpp"
#include "dispatch.hpp"

namespace {

using jaxhp::EncodedDims;
using jaxhp::Kernel;

using Doubles = std::vector<double>;
using Integers = std::vector<std::int64_t>;

constexpr double NOT_A_NUMBER = std::numeric_limits<double>::quiet_NaN();
constexpr double INFINITE = std::numeric_limits<double>::infinity();

Doubles philox(const Kernel& kernel, std::uint64_t seed, const Integers& numbers, std::size_t d) {
    Doubles out(numbers.size() * d);
    kernel.philox(seed, 2, numbers.data(), numbers.size(), d, 4, out.data());
    return out;
}

Doubles sobol(const Kernel& kernel, std::uint64_t seed, std::size_t k, std::size_t d, bool scramble) {
    Integers numbers(k);
    for (std::size_t i = 0; i < k; ++i) numbers[i] = static_cast<std::int64_t>(i);
    Doubles out(k * d);
    kernel.sobol(seed, numbers.data(), k, d, scramble, out.data());
    return out;
}

Doubles transform(const Kernel& kernel, const Doubles& y) {
    Doubles out(y.size());
    Doubles scratch(2 * y.size());
    kernel.transform(y.data(), y.size(), out.data(), scratch.data());
    return out;
}

double ppf(const Kernel& kernel, double p) {
    double out = 0;
    kernel.ppf(&p, 1, &out);
    return out;
}

bool near(double a, double b, double relative) { return std::fabs(a - b) <= relative * std::fabs(b); }

void philox_is_the_named_stream(const Kernel& kernel) {
    // Generator(Philox(key=[1, 2], counter=[0, 3, 4, 0])).random(6) of NumPy 2.4
    const double expected[] = {0x1.86564f8e246d0p-4, 0x1.edaa8c441d565p-1, 0x1.833bf863af0acp-2,
                               0x1.abc4de4c59a0cp-1, 0x1.1f7a8b0508c2cp-1, 0x1.649c1c26d0cdcp-3};
    const Doubles rows = philox(kernel, 1, {-7, 3}, 6);
    for (std::size_t j = 0; j < 6; ++j) CHECK(rows[6 + j] == expected[j]);
    CHECK(philox(kernel, 1, {3}, 3)[2] == expected[2]);
    CHECK(philox(kernel, 1, {}, 3).empty());
    CHECK(philox(kernel, 1, {1, 2}, 0).empty());
}

void sobol_points_are_a_net(const Kernel& kernel) {
    const Doubles plain = sobol(kernel, 0, 4, 2, false);
    const Doubles expected = {0.0, 0.0, 0.5, 0.5, 0.75, 0.25, 0.25, 0.75};
    CHECK(plain == expected);
    const std::size_t k = 256;
    const std::size_t d = 300;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const Doubles points = sobol(kernel, seed, k, d, true);
        for (std::size_t j = 0; j < d; ++j) {
            std::vector<int> cells(k);
            for (std::size_t i = 0; i < k; ++i) {
                const double u = points[i * d + j];
                CHECK(u > 0.0 && u < 1.0);
                ++cells[static_cast<std::size_t>(u * static_cast<double>(k))];
            }
            for (const int count : cells) CHECK(count == 1);
        }
    }
}

void ppf_is_accurate(const Kernel& kernel) {
    CHECK(ppf(kernel, 0.5) == 0.0);
    CHECK(near(ppf(kernel, 0.3), -0.52440051270804081597, 1e-15));
    CHECK(near(ppf(kernel, 0.025), -1.9599639845400542118, 1e-15));
    CHECK(near(ppf(kernel, 1e-10), -6.3613409024040561991, 1e-15));
    CHECK(near(ppf(kernel, 1e-300), -37.047096299361199237, 1e-15));
    CHECK(ppf(kernel, 0.0) == -INFINITE && ppf(kernel, 1.0) == INFINITE);
    CHECK(std::isnan(ppf(kernel, -0.1)) && std::isnan(ppf(kernel, 1.1)) && std::isnan(ppf(kernel, NOT_A_NUMBER)));
    for (int i = 1; i < 1000; ++i) {
        const double p = i / 1000.0;
        CHECK(std::fabs(0.5 * std::erfc(-ppf(kernel, p) / std::sqrt(2.0)) - p) < 1e-15);
    }
}

// Finite, standardised, ordered like y with all non-finite ones last.
void check_transform(const Kernel& kernel, const Doubles& y) {
    const Doubles z = transform(kernel, y);
    double mean = 0;
    double square = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
        CHECK(std::isfinite(z[i]));
        mean += z[i] / static_cast<double>(y.size());
        square += z[i] * z[i] / static_cast<double>(y.size());
        for (std::size_t j = 0; j < y.size(); ++j) {
            const double a = std::isfinite(y[i]) ? y[i] : INFINITE;
            const double b = std::isfinite(y[j]) ? y[j] : INFINITE;
            if (a <= b) CHECK(z[i] <= z[j]);
        }
    }
    CHECK(std::fabs(mean) < 1e-12);
    CHECK(square == 0.0 || std::fabs(square - 1.0) < 1e-12);
}

void transform_survives_blow_ups(const Kernel& kernel) {
    CHECK(transform(kernel, {}).empty());
    CHECK(transform(kernel, {7.0}) == Doubles{0.0});
    CHECK(transform(kernel, {NOT_A_NUMBER}) == Doubles{0.0});
    CHECK((transform(kernel, {3.0, 3.0, 3.0}) == Doubles{0.0, 0.0, 0.0}));
    CHECK((transform(kernel, {NOT_A_NUMBER, INFINITE, -INFINITE}) == Doubles{0.0, 0.0, 0.0}));
    check_transform(kernel, {1e300, -1e300, 0.0, NOT_A_NUMBER, 1.7e308, -1.7e308, INFINITE, 5e-324});
    for (std::size_t n = 2; n < 60; ++n) {
        for (std::size_t percent = 0; percent <= 95; percent += 5) {
            const Doubles random = philox(kernel, n, {static_cast<std::int64_t>(percent)}, n);
            Doubles failing = random;
            Doubles exploding = random;
            const std::size_t bad = n * percent / 100;
            for (std::size_t i = 0; i < bad; ++i) {
                failing[i] = NOT_A_NUMBER;
                exploding[i] = 1e30 * (1.0 + random[i]);
            }
            check_transform(kernel, failing);
            check_transform(kernel, exploding);
            // the best third of the values that did not blow up stay apart
            const Doubles z = transform(kernel, exploding);
            std::vector<std::size_t> order;
            for (std::size_t i = bad; i < n; ++i) order.push_back(i);
            std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return random[a] < random[b]; });
            if (order.size() >= 2) CHECK(z[order.back()] - z[order.front()] > 1e-3);
        }
    }
}

EncodedDims one_dim(jaxhp::Kind kind, double low, double high, std::int64_t levels) {
    return EncodedDims({kind}, {low}, {high}, {levels}, {-1}, {1});
}

void check_levels(const Kernel& kernel, const EncodedDims& dims, std::int64_t levels, std::int64_t stride) {
    Doubles x;
    for (std::int64_t i = 0; i < levels; i += stride) x.push_back(static_cast<double>(i));
    x.push_back(static_cast<double>(levels - 1));
    Doubles u(x.size());
    Doubles snapped(x.size());
    Doubles back(x.size());
    CHECK(kernel.encode(dims.view(), x.data(), x.size(), u.data()) == jaxhp::NONE_BAD);
    CHECK(kernel.snap(dims.view(), u.data(), u.size(), snapped.data()) == jaxhp::NONE_BAD);
    CHECK(snapped == u);
    kernel.decode(dims.view(), u.data(), u.size(), back.data());
    CHECK(back == x);
}

void levels_make_the_round_trip(const Kernel& kernel) {
    for (std::int64_t levels = 1; levels < 300; ++levels) {
        const double high = static_cast<double>(levels);
        check_levels(kernel, one_dim(jaxhp::GRID, 1, high, levels), levels, 1);
        check_levels(kernel, one_dim(jaxhp::GRID_LOG, 1, high, levels), levels, 1);
        check_levels(kernel, one_dim(jaxhp::ORDINAL, 0, 0, levels), levels, 1);
        check_levels(kernel, one_dim(jaxhp::CATEGORICAL, 0, 0, levels), levels, 1);
    }
    const std::int64_t many = std::int64_t{1} << 44;
    check_levels(kernel, one_dim(jaxhp::GRID_LOG, 1, 0x1p44, many), many, many / 9973);
    const std::int64_t most = std::int64_t{1} << 50;
    check_levels(kernel, one_dim(jaxhp::GRID, 0, 0x1p50, most), most, most / 9973);
}

void floats_keep_their_ends(const Kernel& kernel) {
    for (const jaxhp::Kind kind : {jaxhp::FLOAT, jaxhp::FLOAT_LOG}) {
        const EncodedDims dims = one_dim(kind, 1e-3, 0.3, 0);
        const Doubles u = {0.0, 1.0, -4.0, 7.0, 0.25, NOT_A_NUMBER};
        Doubles x(u.size());
        Doubles back(u.size());
        kernel.decode(dims.view(), u.data(), u.size(), x.data());
        CHECK(x[0] == 1e-3 && x[1] == 0.3 && x[2] == 1e-3 && x[3] == 0.3 && std::isnan(x[5]));
        CHECK(kernel.encode(dims.view(), x.data(), x.size(), back.data()) == jaxhp::NONE_BAD);
        CHECK(back[0] == 0.0 && back[1] == 1.0 && std::fabs(back[4] - 0.25) < 1e-15 && std::isnan(back[5]));
        const Doubles outside = {0.1, 0.30000000000000005, INFINITE};
        CHECK(kernel.encode(dims.view(), outside.data(), 3, back.data()) == 1);
    }
}

void inactive_coordinates_are_nan(const Kernel& kernel) {
    // dim 0 has 3 levels; dim 1 (2 levels) is active at levels 0 and 2 of dim 0; dim 2 at level 1 of dim 1
    const EncodedDims dims({jaxhp::CATEGORICAL, jaxhp::ORDINAL, jaxhp::FLOAT}, {0, 0, -1}, {0, 0, 1}, {3, 2, 0}, {-1, 0, 1},
                           {1, 1, 1, 1, 0, 1, 0, 1, 0});
    const Doubles u = {0.1, 0.9, 0.5, 0.5, 0.9, 0.5, 0.9, 0.1, 0.5, 0.5, NOT_A_NUMBER, NOT_A_NUMBER};
    Doubles out(u.size());
    CHECK(kernel.snap(dims.view(), u.data(), 4, out.data()) == jaxhp::NONE_BAD);
    CHECK(out[0] == 0.5 / 3 && out[1] == 0.75 && out[2] == 0.5);
    CHECK(out[3] == 1.5 / 3 && std::isnan(out[4]) && std::isnan(out[5]));
    CHECK(out[6] == 2.5 / 3 && out[7] == 0.25 && std::isnan(out[8]));
    CHECK(out[9] == 1.5 / 3 && std::isnan(out[10]) && std::isnan(out[11]));
    const Doubles missing = {0.5, 0.5, 0.5, 0.1, 0.9, NOT_A_NUMBER};
    CHECK(kernel.snap(dims.view(), missing.data(), 2, out.data()) == 5);
}

void every_path_gives_the_same_bits(const Kernel& kernel, const Kernel& baseline) {
    CHECK(philox(kernel, 3, {1, -1, 1000}, 37) == philox(baseline, 3, {1, -1, 1000}, 37));
    CHECK(sobol(kernel, 5, 100, 300, true) == sobol(baseline, 5, 100, 300, true));
    const Doubles y = philox(baseline, 3, {8}, 500);
    CHECK(transform(kernel, y) == transform(baseline, y));
}

template <class Make>
void check_refused(Make make, const std::string& part) {
    std::string message;
    try {
        make();
    } catch (const std::invalid_argument& error) {
        message = error.what();
    }
    if (message.find(part) == std::string::npos) std::fprintf(stderr, "wanted '%s', got '%s'\n", part.c_str(), message.c_str());
    CHECK(message.find(part) != std::string::npos);
}

void wrong_dims_are_refused() {
    using namespace jaxhp;
    check_refused([] { one_dim(static_cast<Kind>(9), 0, 1, 0); }, "kind[0] = 9: expected 0 to 5");
    check_refused([] { one_dim(FLOAT, 1, 1, 0); }, "low[0] = 1 must be below high[0] = 1");
    check_refused([] { one_dim(FLOAT, 0, 1, 2); }, "levels[0] = 2: a FLOAT dim is continuous");
    check_refused([] { one_dim(FLOAT, -1.7e308, 1.7e308, 0); }, "must be finite");
    check_refused([] { one_dim(FLOAT, NOT_A_NUMBER, 1, 0); }, "must be finite");
    check_refused([] { one_dim(FLOAT_LOG, 0, 1, 0); }, "a log axis needs low > 0");
    check_refused([] { one_dim(GRID, 2, 1, 3); }, "did you swap them?");
    check_refused([] { one_dim(GRID_LOG, 0, 5, 6); }, "whole numbers from 1 to 2^44");
    check_refused([] { one_dim(GRID_LOG, 1.5, 5.5, 5); }, "whole numbers from 1 to 2^44");
    check_refused([] { one_dim(GRID_LOG, 1, 5, 4); }, "levels[0] = 4: a GRID_LOG dim has high - low + 1 = 5");
    check_refused([] { one_dim(ORDINAL, 0, 0, 0); }, "needs at least one level");
    check_refused([] { one_dim(ORDINAL, 0, 0, -3); }, "levels[0] = -3: expected 0 (continuous) to 2^50");
    check_refused([] { EncodedDims({GRID}, {0}, {1}, {2}, {0}, {1, 1}); }, "put parents before their children");
    check_refused([] { EncodedDims({FLOAT, FLOAT}, {0, 0}, {1, 1}, {0, 0}, {-1, 0}, {1, 1}); }, "dim 0 is FLOAT; a parent is");
    check_refused([] { EncodedDims({GRID, FLOAT}, {0, 0}, {1, 1}, {2, 0}, {-1, 0}, {1, 1}); }, "allowed: 1 columns, but dim 0");
    check_refused([] { EncodedDims({FLOAT}, {0, 1}, {1}, {0}, {-1}, {1}); }, "low: expected one entry per dim (1 as in kind), got 2");
    check_refused([] { EncodedDims({FLOAT}, {0}, {1}, {0}, {-1}, {}); }, "allowed: expected (1, columns)");
    check_refused([] { choose_isa("sse9"); }, "JAXHP_ISA='sse9': this machine has ");
    CHECK(choose_isa("") == available_isas().front() && available_isas().back() == "baseline");
    CHECK(EncodedDims({}, {}, {}, {}, {}, {}).d() == 0);
}

}  // namespace

int main() {
    const Kernel baseline = jaxhp::kernel_for("baseline");
    for (const std::string& isa : jaxhp::available_isas()) {
        const Kernel kernel = jaxhp::kernel_for(isa);
        philox_is_the_named_stream(kernel);
        sobol_points_are_a_net(kernel);
        ppf_is_accurate(kernel);
        transform_survives_blow_ups(kernel);
        levels_make_the_round_trip(kernel);
        floats_keep_their_ends(kernel);
        inactive_coordinates_are_nan(kernel);
        every_path_gives_the_same_bits(kernel, baseline);
        std::printf("%s: ok\n", isa.c_str());
    }
    wrong_dims_are_refused();
    return 0;
}
