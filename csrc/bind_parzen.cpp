// Parzen estimators from Python: checks, borrows, releases the GIL, calls.
#include "bind_parzen.hpp"

#include <pybind11/numpy.h>

#include <string>
#include <vector>

#include "borrow.hpp"
#include "dims.hpp"
#include "memory.hpp"

namespace jaxhp {

namespace {

using Array = py::array_t<double, py::array::c_style>;

constexpr std::uint64_t MOST_DRAWS = 1u << 20;

std::string indexed(const std::string& name, std::size_t i) { return name + "[" + std::to_string(i) + "]"; }

void check_point(const double* row, std::size_t d, const std::string& name) {
    for (std::size_t j = 0; j < d; ++j)
        if (row[j] < 0.0 || row[j] > 1.0)
            throw py::value_error(indexed(name, j) + " = " + std::to_string(row[j]) + ": expected a number in [0, 1], or NaN where inactive");
}

// The tuple (rows, weights, prior, bandwidth) over the points u.
ParzenView parzen_view(const Borrowed<double, 2>& u, const py::handle& given, const std::string& name) {
    if (!py::isinstance<py::tuple>(given) || py::len(given) != 4)
        throw py::type_error(name + ": expected (rows, weights, prior, bandwidth), got a " + std::string(Py_TYPE(given.ptr())->tp_name));
    const py::tuple fields = py::reinterpret_borrow<py::tuple>(given);
    const auto rows = borrow<std::int64_t, 1>(fields[0], "rows", {ANY}, "n");
    const auto weights = borrow<double, 1>(fields[1], "weights", {rows.shape[0]}, "");
    const auto bandwidth = borrow<double, 1>(fields[3], "bandwidth", {u.shape[1]}, "");
    const double prior = fields[2].cast<double>();
    const std::size_t d = static_cast<std::size_t>(u.shape[1]);
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        if (rows.data[i] < 0 || rows.data[i] >= u.shape[0])
            throw py::value_error(indexed(name + ": rows", i) + " = " + std::to_string(rows.data[i]) + ": expected an index of " +
                                  std::to_string(u.shape[0]) + " points");
        if (!(weights.data[i] > 0.0 && weights.data[i] < 1e100))
            throw py::value_error(indexed(name + ": weights", i) + " = " + std::to_string(weights.data[i]) + ": expected a positive number");
        const std::size_t row = static_cast<std::size_t>(rows.data[i]);
        check_point(u.data + row * d, d, indexed("u", row));
    }
    if (!(prior > 0.0 && prior < 1e100))
        throw py::value_error(name + ": prior = " + std::to_string(prior) + ": expected a positive number");
    for (std::size_t j = 0; j < d; ++j)
        if (!(bandwidth.data[j] > 0.0 && bandwidth.data[j] <= 1.0))
            throw py::value_error(indexed(name + ": bandwidth", j) + " = " + std::to_string(bandwidth.data[j]) +
                                  ": expected a number above 0 and at most 1");
    return {u.data, rows.data, rows.rows(), weights.data, prior, bandwidth.data};
}

Borrowed<double, 2> points_of(const EncodedDims& dims, const py::object& u, const char* name, const char* letters) {
    return borrow<double, 2>(u, name, {ANY, static_cast<py::ssize_t>(dims.d())}, letters);
}

Array log_density(const Kernel& kernel, const EncodedDims& dims, const py::object& u, const py::object& estimator, const py::object& at) {
    const auto table = points_of(dims, u, "u", "n");
    const ParzenView view = parzen_view(table, estimator, "estimator");
    const auto points = points_of(dims, at, "at", "m");
    for (std::size_t i = 0; i < points.rows(); ++i) check_point(points.data + i * dims.d(), dims.d(), indexed("at", i));
    Array out(points.shape[0]);
    double* to = out.mutable_data();
    {
        const py::gil_scoped_release unlocked;
        const Memory memory = allocate(kernel.density_memory(dims.view(), view));
        kernel.log_density(dims.view(), view, points.data, points.rows(), memory.get(), to);
    }
    return out;
}

py::tuple propose(const Kernel& kernel, const EncodedDims& dims, const py::object& u, const py::tuple& ratios, const py::object& candidates,
                  const py::object& seed, const py::object& purpose, const py::object& number) {
    const auto table = points_of(dims, u, "u", "n");
    if (ratios.empty() || ratios.size() > MOST_RATIOS)
        throw py::value_error("ratios: expected 1 to " + std::to_string(MOST_RATIOS) + ", got " + std::to_string(ratios.size()));
    std::vector<RatioView> views;
    for (std::size_t r = 0; r < ratios.size(); ++r) {
        const std::string name = indexed("ratios", r);
        if (!py::isinstance<py::tuple>(ratios[r]) || py::len(ratios[r]) != 3)
            throw py::type_error(name + ": expected (better, worse, share)");
        const py::tuple parts = py::reinterpret_borrow<py::tuple>(ratios[r]);
        const double share = parts[2].cast<double>();
        if (!(share >= 0.0 && share < 1.0))
            throw py::value_error(name + ": share = " + std::to_string(share) + ": expected a number from 0 on, below 1");
        views.push_back({parzen_view(table, parts[0], name + ".better"), parzen_view(table, parts[1], name + ".worse"), share});
    }
    const ProposalView view{dims.view(),
                            views.data(),
                            views.size(),
                            whole_number(candidates, "candidates", MOST_DRAWS),
                            {whole_number(seed, "seed"), whole_number(purpose, "purpose"), whole_number(number, "number")}};
    if (view.candidates == 0) throw py::value_error("candidates: expected at least 1, got 0");
    const py::ssize_t count = static_cast<py::ssize_t>(view.candidates);
    Array points(Shape<2>{count, static_cast<py::ssize_t>(dims.d())});
    Array scores(count);
    double* to = points.mutable_data();
    double* values = scores.mutable_data();
    {
        const py::gil_scoped_release unlocked;
        const Memory memory = allocate(kernel.proposal_memory(view));
        kernel.propose(view, memory.get(), to, values);
    }
    return py::make_tuple(points, scores);
}

}  // namespace

void bind_parzen(py::module_& m, const Kernel& kernel) {
    m.def(
        "log_density",
        [kernel](const EncodedDims& dims, const py::object& u, const py::object& estimator, const py::object& at) {
            return log_density(kernel, dims, u, estimator, at);
        },
        py::arg("dims"), py::arg("u"), py::arg("estimator"), py::arg("at"), "(m,) log densities of a Parzen estimator over rows of u.");
    m.def(
        "propose",
        [kernel](const EncodedDims& dims, const py::object& u, const py::tuple& ratios, const py::object& candidates,
                 const py::object& seed, const py::object& purpose, const py::object& number) {
            return propose(kernel, dims, u, ratios, candidates, seed, purpose, number);
        },
        py::arg("dims"), py::arg("u"), py::arg("ratios"), py::arg("candidates"), py::arg("seed"), py::arg("purpose"), py::arg("number"), "Points (candidates, d) where sums of log density ratios are large, best first, and the sums.");
}

}  // namespace jaxhp
