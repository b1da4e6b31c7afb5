// Posteriors and acquisitions from Python: checks, borrows, releases the GIL, calls.
#include "bind_search.hpp"

#include <pybind11/numpy.h>

#include <string>
#include <vector>

#include "borrow.hpp"
#include "dims.hpp"
#include "memory.hpp"

namespace jaxhp {

namespace {

using Array = py::array_t<double, py::array::c_style>;
using Indices = py::array_t<std::int64_t, py::array::c_style>;

constexpr std::uint64_t MOST_CANDIDATES = 1u << 24;

Array empty(std::size_t n) { return Array(static_cast<py::ssize_t>(n)); }

Array empty(std::size_t n, std::size_t d) {
    return Array(Shape<2>{static_cast<py::ssize_t>(n), static_cast<py::ssize_t>(d)});
}

// The fields of `Posterior` in their order.
PosteriorView posterior_view(const py::handle& given) {
    if (!py::isinstance<py::tuple>(given) || py::len(given) != 9)
        throw py::type_error("posterior: expected a jaxhp._types.Posterior, got " + std::string(py::str(py::type::of(given))));
    const py::tuple fields = py::reinterpret_borrow<py::tuple>(given);
    const auto X = borrow<double, 2>(fields[0], "posterior.X", {ANY, ANY}, "dc");
    const py::ssize_t d = X.shape[0];
    const py::ssize_t capacity = X.shape[1];
    const auto Linv = borrow<double, 2>(fields[1], "posterior.Linv", {capacity, capacity}, "");
    const auto alpha = borrow<double, 1>(fields[2], "posterior.alpha", {capacity}, "");
    const auto noise = borrow<double, 1>(fields[3], "posterior.noise", {capacity}, "");
    const auto row_kind = borrow<std::int8_t, 1>(fields[4], "posterior.row_kind", {capacity}, "");
    const auto theta = borrow<double, 1>(fields[5], "posterior.theta", {d + 2}, "");
    const auto kind = borrow<std::int8_t, 1>(fields[7], "posterior.kind", {d}, "");
    const std::size_t n = whole_number(fields[8], "posterior.n", static_cast<std::uint64_t>(capacity));
    for (std::size_t i = 0; i < n; ++i)
        if (row_kind.data[i] >= 0)
            throw py::value_error("posterior.row_kind[" + std::to_string(i) + "] = " + std::to_string(row_kind.data[i]) +
                                  ": the search knows value rows (-1) only");
    return {static_cast<std::size_t>(d), n,          static_cast<std::size_t>(capacity), X.data,    Linv.data,
            alpha.data,                  noise.data, theta.data,                         kind.data, fields[6].cast<double>()};
}

// An AcquisitionView and what it points to.
struct Sum {
    std::vector<PosteriorView> posteriors;
    std::vector<Term> terms;
    AcquisitionView view;
    std::size_t d() const { return posteriors.front().d; }
};

Sum sum_of(const py::tuple& posteriors, const py::object& terms, const py::object& seed, const py::object& purpose,
           const py::object& number) {
    Sum sum;
    if (posteriors.empty() || posteriors.size() > MOST_POSTERIORS)
        throw py::value_error("posteriors: expected 1 to " + std::to_string(MOST_POSTERIORS) + ", got " +
                              std::to_string(posteriors.size()));
    for (const py::handle given : posteriors) sum.posteriors.push_back(posterior_view(given));
    for (const PosteriorView& view : sum.posteriors)
        if (view.d != sum.d())
            throw py::value_error("posteriors: all must have the same dims, got " + std::to_string(sum.d()) + " and " +
                                  std::to_string(view.d));
    const auto rows = borrow<double, 2>(terms, "terms", {ANY, 4}, "t");
    if (rows.rows() == 0) throw py::value_error("terms: expected at least one row (type, posterior, a, b), got none");
    for (std::size_t t = 0; t < rows.rows(); ++t) {
        const double* row = rows.data + 4 * t;
        if (!(row[0] >= 0 && row[0] < TERM_TYPES))
            throw py::value_error("terms[" + std::to_string(t) + ", 0]: expected a type, 0 to " + std::to_string(TERM_TYPES - 1) +
                                  ", got " + std::to_string(row[0]));
        if (!(row[1] >= 0 && row[1] < static_cast<double>(posteriors.size())))
            throw py::value_error("terms[" + std::to_string(t) + ", 1]: expected the index of a posterior, 0 to " +
                                  std::to_string(posteriors.size() - 1) + ", got " + std::to_string(row[1]));
        sum.terms.push_back({static_cast<std::int32_t>(row[0]), static_cast<std::uint32_t>(row[1]), row[2], row[3]});
    }
    const DrawName draw{whole_number(seed, "seed"), whole_number(purpose, "purpose"), whole_number(number, "number")};
    sum.view = {sum.posteriors.data(), sum.posteriors.size(), sum.terms.data(), sum.terms.size(), draw};
    return sum;
}

Borrowed<double, 2> rows_of(const py::object& given, const char* name, std::size_t d) {
    return borrow<double, 2>(given, name, {ANY, static_cast<py::ssize_t>(d)}, "m");
}

void check_finite(const Borrowed<double, 2>& rows, std::size_t d, const char* name) {
    for (std::size_t i = 0; i < rows.rows() * d; ++i) {
        const double u = rows.data[i];
        if (u < 0.0 || u > 1.0)
            throw py::value_error(std::string(name) + "[" + std::to_string(i / d) + ", " + std::to_string(i % d) +
                                  "] = " + std::to_string(u) + ": expected a number in [0, 1], or NaN where inactive");
    }
}

py::tuple predict(const Kernel& kernel, const py::object& posterior, const py::object& u) {
    const PosteriorView view = posterior_view(posterior);
    const auto rows = rows_of(u, "u", view.d);
    Array mean = empty(rows.rows());
    Array variance = empty(rows.rows());
    double* means = mean.mutable_data();
    double* variances = variance.mutable_data();
    {
        const py::gil_scoped_release unlocked;
        const Memory memory = allocate(kernel.predict_memory(view));
        kernel.predict(view, rows.data, rows.rows(), memory.get(), means, variances);
    }
    return py::make_tuple(mean, variance);
}

py::tuple evaluate(const Kernel& kernel, const py::tuple& posteriors, const py::object& terms, const py::object& u,
                   const py::object& seed, const py::object& purpose, const py::object& number) {
    const Sum sum = sum_of(posteriors, terms, seed, purpose, number);
    const auto rows = rows_of(u, "u", sum.d());
    Array value = empty(rows.rows());
    Array gradient = empty(rows.rows(), sum.d());
    double* values = value.mutable_data();
    double* gradients = gradient.mutable_data();
    {
        const py::gil_scoped_release unlocked;
        const Memory memory = allocate(kernel.evaluate_memory(sum.view));
        kernel.evaluate(sum.view, rows.data, rows.rows(), memory.get(), values, gradients);
    }
    return py::make_tuple(value, gradient);
}

py::tuple best_of(const Kernel& kernel, const py::tuple& posteriors, const py::object& terms, const py::object& u,
                  const py::object& k, const py::object& seed, const py::object& purpose, const py::object& number) {
    const Sum sum = sum_of(posteriors, terms, seed, purpose, number);
    const auto rows = rows_of(u, "u", sum.d());
    if (rows.rows() > MOST_CANDIDATES) throw py::value_error("u: more than 2^24 rows; pass them in parts");
    const std::size_t wanted = whole_number(k, "k", rows.rows());
    std::vector<std::size_t> chosen(wanted);
    std::vector<double> values(wanted);
    std::size_t scored = 0;
    std::size_t count = 0;
    {
        const py::gil_scoped_release unlocked;
        const Memory memory = allocate(kernel.choice_memory(sum.view, rows.rows()));
        count = kernel.best_of(sum.view, rows.data, rows.rows(), memory.get(), wanted, chosen.data(), values.data(), &scored);
    }
    Indices indices(static_cast<py::ssize_t>(count));
    Array best = empty(count);
    for (std::size_t i = 0; i < count; ++i) {
        indices.mutable_data()[i] = static_cast<std::int64_t>(chosen[i]);
        best.mutable_data()[i] = values[i];
    }
    return py::make_tuple(indices, best, scored);
}

py::tuple maximize(const Kernel& kernel, const py::tuple& posteriors, const py::object& terms, const EncodedDims& dims,
                   const py::object& centres, const py::object& existing, const py::object& extra, const py::object& spread,
                   const py::object& local, const py::object& starts, const py::object& iterations, bool allow_duplicates,
                   const py::object& seed, const py::object& purpose, const py::object& number) {
    const Sum sum = sum_of(posteriors, terms, seed, purpose, number);
    const std::size_t d = sum.d();
    if (dims.d() != d)
        throw py::value_error("dims: has " + std::to_string(dims.d()) + " dims, the posterior " + std::to_string(d));
    const auto near = rows_of(centres, "centres", d);
    const auto known = rows_of(existing, "existing", d);
    const auto given = rows_of(extra, "extra", d);
    check_finite(near, d, "centres");
    check_finite(given, d, "extra");
    if (given.rows() > MOST_CANDIDATES) throw py::value_error("extra: more than 2^24 rows; pass fewer");
    const SearchView view{dims.view(),
                          near.data,
                          near.rows(),
                          known.data,
                          known.rows(),
                          given.data,
                          given.rows(),
                          whole_number(spread, "spread", MOST_CANDIDATES),
                          whole_number(local, "local", MOST_CANDIDATES),
                          whole_number(starts, "starts", MOST_STARTS),
                          whole_number(iterations, "iterations"),
                          allow_duplicates};
    if (view.starts == 0) throw py::value_error("starts: expected 1 to " + std::to_string(MOST_STARTS) + ", got 0");
    if (view.spread + given.rows() == 0) throw py::value_error("spread: expected at least 1 where there are no extra candidates, got 0");
    Array u = empty(d);
    double* out = u.mutable_data();
    Found found{};
    {
        const py::gil_scoped_release unlocked;
        const Memory memory = allocate(kernel.search_memory(sum.view, view));
        found = kernel.maximize(sum.view, view, memory.get(), out);
    }
    return py::make_tuple(u, found.value, found.how, found.scored, found.evaluated);
}

using PairFunction = void (*)(const double*, std::size_t, double*, double*);

py::tuple value_and_derivative(PairFunction function, const py::object& z) {
    const auto values = borrow<double, 1>(z, "z", {ANY}, "n");
    Array value = empty(values.rows());
    Array derivative = empty(values.rows());
    function(values.data, values.rows(), value.mutable_data(), derivative.mutable_data());
    return py::make_tuple(value, derivative);
}

}  // namespace

void bind_search(py::module_& m, const Kernel& kernel) {
    m.def(
        "log_h", [kernel](const py::object& z) { return value_and_derivative(kernel.log_h, z); }, py::arg("z"),
        "log h (n,) and its derivative (n,), h(z) = phi(z) + z Phi(z).");
    m.def(
        "log_cdf", [kernel](const py::object& z) { return value_and_derivative(kernel.log_cdf, z); }, py::arg("z"),
        "log Phi (n,) and its derivative (n,).");
    m.def(
        "predict", [kernel](const py::object& posterior, const py::object& u) { return predict(kernel, posterior, u); },
        py::arg("posterior"), py::arg("u"), "Mean (m,) and variance (m,) at u (m, d).");
    m.def(
        "evaluate",
        [kernel](const py::tuple& posteriors, const py::object& terms, const py::object& u, const py::object& seed,
                 const py::object& purpose, const py::object& number) {
            return evaluate(kernel, posteriors, terms, u, seed, purpose, number);
        },
        py::arg("posteriors"), py::arg("terms"), py::arg("u"), py::arg("seed"), py::arg("purpose"), py::arg("number"),
        "Values (m,) and gradients (m, d) of a sum of terms.");
    m.def(
        "best_of",
        [kernel](const py::tuple& posteriors, const py::object& terms, const py::object& u, const py::object& k,
                 const py::object& seed, const py::object& purpose, const py::object& number) {
            return best_of(kernel, posteriors, terms, u, k, seed, purpose, number);
        },
        py::arg("posteriors"), py::arg("terms"), py::arg("u"), py::arg("k"), py::arg("seed"), py::arg("purpose"),
        py::arg("number"), "Indices and values of the best k rows of u (m, d), and how many were scored exactly.");
    m.def(
        "maximize",
        [kernel](const py::tuple& posteriors, const py::object& terms, const EncodedDims& dims, const py::object& centres,
                 const py::object& existing, const py::object& extra, const py::object& spread, const py::object& local,
                 const py::object& starts, const py::object& iterations, bool allow_duplicates, const py::object& seed,
                 const py::object& purpose, const py::object& number) {
            return maximize(kernel, posteriors, terms, dims, centres, existing, extra, spread, local, starts, iterations,
                            allow_duplicates, seed, purpose, number);
        },
        py::arg("posteriors"), py::arg("terms"), py::arg("dims"), py::arg("centres"), py::arg("existing"), py::arg("extra"),
        py::arg("spread"), py::arg("local"), py::arg("starts"), py::arg("iterations"),
        py::arg("allow_duplicates").noconvert() = false, py::arg("seed"), py::arg("purpose"), py::arg("number"),
        "(u (d,), value, how, scored, evaluated): a canonical point where the sum of terms is large.");
}

}  // namespace jaxhp
