// CMA-ES from Python: checks, borrows, calls. A generation takes microseconds, so the GIL is kept up to `MANY` dims.
#include "bind_cma.hpp"

#include <pybind11/numpy.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "borrow.hpp"
#include "memory.hpp"

namespace jaxhp {

namespace {

using Array = py::array_t<double, py::array::c_style>;
using Whole = py::array_t<std::int64_t, py::array::c_style>;

constexpr std::uint64_t MOST = 1u << 16;  // coordinates, and points of a generation
constexpr std::size_t MANY = 24;
constexpr const char* NOT_FINITE = "C: expected finite numbers; a point or the distribution is not finite";

py::ssize_t size(std::size_t n) { return static_cast<py::ssize_t>(n); }

Array vector(std::size_t n) { return Array(size(n)); }
Array matrix(std::size_t rows, std::size_t columns) { return Array(Shape<2>{size(rows), size(columns)}); }

py::tuple fields_of(const py::object& given, const char* name, std::size_t count) {
    if (!py::isinstance<py::tuple>(given) || py::len(given) != count)
        throw py::type_error(std::string(name) + ": expected its " + std::to_string(count) + " fields, got a " + Py_TYPE(given.ptr())->tp_name);
    return py::reinterpret_borrow<py::tuple>(given);
}

// `Strategy` of jaxhp/samplers/_cma_update.py; its lag is the caller's business.
CmaConstants constants_of(const py::object& given) {
    const py::tuple fields = fields_of(given, "made", 13);
    CmaConstants made{};
    made.n = whole_number(fields[0], "made.n", MOST);
    made.popsize = whole_number(fields[1], "made.popsize", MOST);
    made.mu = whole_number(fields[2], "made.mu", made.popsize);
    made.weights = borrow<double, 1>(fields[3], "made.weights", {size(made.popsize)}, "").data;
    double* const numbers[] = {&made.mu_eff, &made.c_sigma, &made.d_sigma, &made.c_c, &made.c_1, &made.c_mu, &made.chi_n};
    for (std::size_t i = 0; i < 7; ++i) *numbers[i] = fields[4 + i].cast<double>();
    made.separable = fields[11].cast<bool>();
    return made;
}

// `Search` of the same file, of which only what a draw needs is looked at.
struct Searched {
    CmaView view;
    bool separable;
    py::object B, D;
};

Searched search_of(const py::object& given, std::size_t n) {
    const py::tuple fields = fields_of(given, "search", 8);
    const py::ssize_t width = size(n);
    Searched search{};
    search.B = fields[5];
    search.D = fields[6];
    search.view.mean = borrow<double, 1>(fields[0], "search.mean", {width}, "").data;
    search.view.sigma = fields[1].cast<double>();
    search.view.p_sigma = borrow<double, 1>(fields[3], "search.p_sigma", {width}, "").data;
    search.view.p_c = borrow<double, 1>(fields[4], "search.p_c", {width}, "").data;
    const auto B = borrow<double, 2>(search.B, "search.B", {ANY, ANY}, "nn");
    search.separable = B.shape[0] == 0;
    if (!search.separable) borrow<double, 2>(search.B, "search.B", {width, width}, "");
    search.view.B = B.data;
    search.view.C = search.separable && n > 0 ? borrow<double, 1>(fields[2], "search.C", {width}, "").data
                    : n > 0                   ? borrow<double, 2>(fields[2], "search.C", {width, width}, "").data
                                              : nullptr;
    search.view.D = borrow<double, 1>(search.D, "search.D", {width}, "").data;
    search.view.g = fields[7].cast<double>();
    return search;
}

py::tuple update(const Kernel& kernel, const py::object& strategy, const py::object& given, const py::object& points,
                 const py::object& foreign, bool due) {
    const CmaConstants made = constants_of(strategy);
    const Searched search = search_of(given, made.n);
    if (search.separable != made.separable) throw py::value_error("search: of another variant than made.separable says");
    const auto x = borrow<double, 2>(points, "x", {size(made.popsize), size(made.n)}, "");
    const std::uint8_t* flags = nullptr;
    if (!foreign.is_none()) flags = reinterpret_cast<const std::uint8_t*>(borrow<bool, 1>(foreign, "foreign", {size(made.popsize)}, "").data);
    Array mean = vector(made.n), p_sigma = vector(made.n), p_c = vector(made.n);
    Array C = made.separable ? vector(made.n) : matrix(made.n, made.n);
    py::object B = search.B, D = search.D;
    double sigma = 0.0;
    CmaResult after{mean.mutable_data(), &sigma, C.mutable_data(), p_sigma.mutable_data(), p_c.mutable_data(), nullptr, nullptr};
    if (made.separable || due) {
        Array axes = vector(made.n);
        after.D = axes.mutable_data();
        D = std::move(axes);
    }
    if (!made.separable && due) {
        Array vectors = matrix(made.n, made.n);
        after.B = vectors.mutable_data();
        B = std::move(vectors);
    }
    bool finite = false;
    {
        std::optional<py::gil_scoped_release> unlocked;
        if (made.n >= MANY) unlocked.emplace();
        const Memory memory = allocate(kernel.cma_memory(made));
        finite = kernel.cma_update(made, search.view, x.data, flags, due, memory.get(), after);
    }
    if (!finite) throw py::value_error(NOT_FINITE);
    return py::make_tuple(mean, sigma, C, p_sigma, p_c, B, D, static_cast<std::int64_t>(search.view.g) + 1);
}

py::tuple decompose(const Kernel& kernel, const py::object& covariance) {
    const auto C = borrow<double, 2>(covariance, "C", {ANY, ANY}, "nn");
    borrow<double, 2>(covariance, "C", {C.shape[0], C.shape[0]}, "");
    CmaConstants made{};
    made.n = C.rows();
    Array B = matrix(made.n, made.n), D = vector(made.n);
    double* vectors = B.mutable_data();
    double* axes = D.mutable_data();
    const Memory memory = allocate(kernel.cma_memory(made));
    if (!kernel.cma_decompose(made, C.data, memory.get(), vectors, axes)) throw py::value_error(NOT_FINITE);
    return py::make_tuple(B, D);
}

// Whether the two lists hold each of 0..d-1 once.
void check_dims(const Borrowed<std::int64_t, 1>& numeric, const Borrowed<std::int64_t, 1>& categorical) {
    const std::size_t d = numeric.rows() + categorical.rows();
    std::vector<char> seen(d, 0);
    for (const auto* list : {&numeric, &categorical})
        for (std::size_t i = 0; i < list->rows(); ++i) {
            const std::int64_t j = list->data[i];
            if (j < 0 || j >= size(d) || seen[static_cast<std::size_t>(j)] != 0)
                throw py::value_error("numeric, categorical: expected each dim from 0 to " + std::to_string(d) + " once, got " + std::to_string(j));
            seen[static_cast<std::size_t>(j)] = 1;
        }
}

py::tuple draw(const Kernel& kernel, const py::object& coordinates, const py::object& given, const py::object& stretch, const py::object& q,
               const py::object& usual, const py::object& seed, const py::object& purpose, const py::object& numbers, const py::object& first) {
    const py::tuple fields = fields_of(coordinates, "coordinates", 4);
    const auto numeric = borrow<std::int64_t, 1>(fields[0], "numeric", {ANY}, "n");
    const auto bounded = borrow<bool, 1>(fields[1], "bounded", {numeric.shape[0]}, "");
    const auto categorical = borrow<std::int64_t, 1>(fields[2], "categorical", {ANY}, "c");
    const auto levels = borrow<std::int64_t, 1>(fields[3], "levels", {categorical.shape[0]}, "");
    check_dims(numeric, categorical);
    const auto table = borrow<double, 2>(q, "q", {categorical.shape[0], ANY}, "w");
    const auto default_levels = borrow<std::int64_t, 1>(usual, "usual", {categorical.shape[0]}, "");
    for (std::size_t j = 0; j < levels.rows(); ++j)
        if (levels.data[j] < 1 || levels.data[j] > table.shape[1])
            throw py::value_error("levels[" + std::to_string(j) + "] = " + std::to_string(levels.data[j]) + ": expected 1 to the width of q, " +
                                  std::to_string(table.shape[1]));
    const std::size_t n = numeric.rows(), c = categorical.rows();
    const Searched search = search_of(given, n);
    const auto A = borrow<double, 1>(stretch, "A", {size(n)}, "");
    const auto rows = borrow<std::int64_t, 1>(numbers, "numbers", {ANY}, "k");
    const std::size_t k = rows.rows();
    Whole attempts(size(k));
    std::int64_t* attempt = attempts.mutable_data();
    if (first.is_none()) {
        std::fill(attempt, attempt + k, 0);
    } else {
        const auto begun = borrow<std::int64_t, 1>(first, "attempts", {size(k)}, "");
        for (std::size_t i = 0; i < k; ++i) attempt[i] = std::max<std::int64_t>(begun.data[i], 0);
    }
    Array v = matrix(k, n + c), x = matrix(k, n);
    Whole chosen(Shape<2>{size(k), size(c)});
    double* to_v = v.mutable_data();
    double* to_x = x.mutable_data();
    std::int64_t* to_chosen = chosen.mutable_data();
    const CmaDrawView view{n,
                           c,
                           numeric.data,
                           reinterpret_cast<const std::uint8_t*>(bounded.data),
                           categorical.data,
                           levels.data,
                           search.view.mean,
                           search.view.sigma,
                           search.view.B,
                           search.view.D,
                           search.separable,
                           A.data,
                           table.data,
                           static_cast<std::size_t>(table.shape[1]),
                           default_levels.data,
                           whole_number(seed, "seed"),
                           whole_number(purpose, "purpose")};
    {
        std::optional<py::gil_scoped_release> unlocked;
        if (n >= MANY) unlocked.emplace();
        std::vector<double> scratch(2 * n + c);
        kernel.cma_draw(view, rows.data, k, scratch.data(), to_v, to_x, to_chosen, attempt);
    }
    return py::make_tuple(v, x, chosen, attempts);
}

}  // namespace

void bind_cma(py::module_& m, const Kernel& kernel) {
    m.def(
        "cma_update",
        [kernel](const py::object& made, const py::object& search, const py::object& x, const py::object& foreign, bool due) {
            return update(kernel, made, search, x, foreign, due);
        },
        py::arg("made"), py::arg("search"), py::arg("x"), py::arg("foreign"), py::arg("due"), "The fields of the distribution after points x (popsize, n).");
    m.def(
        "cma_decompose", [kernel](const py::object& C) { return decompose(kernel, C); }, py::arg("C"),
        "B (n, n) and D (n,) with C = B diag(D^2) B^T.");
    m.def(
        "cma_draw",
        [kernel](const py::object& coordinates, const py::object& search, const py::object& A, const py::object& q, const py::object& usual,
                 const py::object& seed, const py::object& purpose, const py::object& numbers, const py::object& attempts) {
            return draw(kernel, coordinates, search, A, q, usual, seed, purpose, numbers, attempts);
        },
        py::arg("coordinates"), py::arg("search"), py::arg("A"), py::arg("q"), py::arg("usual"), py::arg("seed"), py::arg("purpose"),
        py::arg("numbers"), py::arg("attempts"), "Points v (k, d), x (k, n), levels (k, c), and the attempts (k,) at which they were drawn.");
}

}  // namespace jaxhp
