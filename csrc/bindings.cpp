// jaxhp._core: checks, borrows, releases the GIL, calls. The only file that knows Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bind_cma.hpp"
#include "bind_parzen.hpp"
#include "bind_search.hpp"
#include "borrow.hpp"
#include "dims.hpp"
#include "dispatch.hpp"

namespace jaxhp {

namespace {

using Array = py::array_t<double, py::array::c_style>;

constexpr std::uint64_t MOST_DIMS = 1u << 20;
constexpr std::int64_t INDICES = std::int64_t{1} << 32;
constexpr std::size_t PLAIN_AXES = 256;  // of the direction-number table; scrambled points go on by padding

// Lets other threads run where the work outweighs the hand-over, about a microsecond.
class Unlocked {
  public:
    explicit Unlocked(std::size_t numbers) {
        if (numbers >= 256) release_.emplace();
    }

  private:
    std::optional<py::gil_scoped_release> release_;
};

Array empty(std::size_t n) { return Array(static_cast<py::ssize_t>(n)); }

Array empty(std::size_t n, std::size_t d) {
    return Array(Shape<2>{static_cast<py::ssize_t>(n), static_cast<py::ssize_t>(d)});
}

Array philox(const Kernel& kernel, const py::object& seed, const py::object& purpose, const py::object& numbers,
             const py::object& d, const py::object& attempt) {
    const std::uint64_t key0 = whole_number(seed, "seed");
    const std::uint64_t key1 = whole_number(purpose, "purpose");
    const auto rows = borrow<std::int64_t, 1>(numbers, "numbers", {ANY}, "k");
    const std::size_t width = whole_number(d, "d", MOST_DIMS);
    const std::uint64_t again = whole_number(attempt, "attempt");
    Array out = empty(rows.rows(), width);
    double* to = out.mutable_data();
    const Unlocked unlocked(rows.rows() * width);
    kernel.philox(key0, key1, rows.data, rows.rows(), width, again, to);
    return out;
}

Array sobol(const Kernel& kernel, const py::object& seed, const py::object& numbers, const py::object& d, bool scramble) {
    const std::uint64_t key = whole_number(seed, "seed");
    const auto rows = borrow<std::int64_t, 1>(numbers, "numbers", {ANY}, "k");
    const std::size_t width = whole_number(d, "d", MOST_DIMS);
    if (!scramble && width > PLAIN_AXES)
        throw py::value_error("d: " + std::to_string(width) + " dims without scrambling, but the table has " +
                              std::to_string(PLAIN_AXES) + "; use scramble=True");
    for (std::size_t i = 0; i < rows.rows(); ++i)
        if (rows.data[i] < 0 || rows.data[i] >= INDICES)
            throw py::value_error("numbers[" + std::to_string(i) + "] = " + std::to_string(rows.data[i]) +
                                  ": expected a point's index, 0 to 2^32 - 1");
    Array out = empty(rows.rows(), width);
    double* to = out.mutable_data();
    const Unlocked unlocked(rows.rows() * width);
    kernel.sobol(key, rows.data, rows.rows(), width, scramble, to);
    return out;
}

Array transform(const Kernel& kernel, const py::object& y) {
    const auto values = borrow<double, 1>(y, "y", {ANY}, "n");
    Array out = empty(values.rows());
    double* to = out.mutable_data();
    std::vector<double> scratch(2 * values.rows());
    const Unlocked unlocked(8 * values.rows());
    kernel.transform(values.data, values.rows(), to, scratch.data());
    return out;
}

Array ppf(const Kernel& kernel, const py::object& p) {
    const auto values = borrow<double, 1>(p, "p", {ANY}, "n");
    Array out = empty(values.rows());
    double* to = out.mutable_data();
    const Unlocked unlocked(4 * values.rows());
    kernel.ppf(values.data, values.rows(), to);
    return out;
}

template <class T, class Out = T>
std::vector<Out> column(const py::object& given, const char* name, py::ssize_t d) {
    const auto borrowed = borrow<T, 1>(given, name, {d}, "d");
    return std::vector<Out>(borrowed.data, borrowed.data + borrowed.rows());
}

std::unique_ptr<EncodedDims> encoded_dims(const py::object& kind, const py::object& low, const py::object& high,
                                          const py::object& levels, const py::object& parent, const py::object& allowed) {
    std::vector<std::int8_t> kinds = column<std::int8_t>(kind, "kind", ANY);
    const py::ssize_t d = static_cast<py::ssize_t>(kinds.size());
    const auto table = borrow<bool, 2>(allowed, "allowed", {d, ANY}, "L");
    std::vector<std::uint8_t> entries(table.data, table.data + table.shape[0] * table.shape[1]);
    return std::make_unique<EncodedDims>(std::move(kinds), column<double>(low, "low", d), column<double>(high, "high", d),
                                         column<std::int64_t>(levels, "levels", d),
                                         column<std::int32_t>(parent, "parent", d), std::move(entries));
}

std::string at(std::int64_t bad, std::size_t d) {
    const std::int64_t width = static_cast<std::int64_t>(d);
    return "[" + std::to_string(bad / width) + ", " + std::to_string(bad % width) + "] (row, dim)";
}

std::string number_text(double value) { return std::string(py::str(py::float_(value))); }

Array snap(const Kernel& kernel, const EncodedDims& dims, const py::object& u) {
    const auto rows = borrow<double, 2>(u, "u", {ANY, static_cast<py::ssize_t>(dims.d())}, "n");
    Array out = empty(rows.rows(), dims.d());
    double* to = out.mutable_data();
    std::int64_t bad = NONE_BAD;
    {
        const Unlocked unlocked(rows.rows() * dims.d());
        bad = kernel.snap(dims.view(), rows.data, rows.rows(), to);
    }
    if (bad != NONE_BAD)
        throw py::value_error("u" + at(bad, dims.d()) + " is NaN, but that coordinate is active; give a number in [0, 1]");
    return out;
}

Array encode(const Kernel& kernel, const EncodedDims& dims, const py::object& x) {
    const auto rows = borrow<double, 2>(x, "x", {ANY, static_cast<py::ssize_t>(dims.d())}, "n");
    Array out = empty(rows.rows(), dims.d());
    double* to = out.mutable_data();
    std::int64_t bad = NONE_BAD;
    {
        const Unlocked unlocked(rows.rows() * dims.d());
        bad = kernel.encode(dims.view(), rows.data, rows.rows(), to);
    }
    if (bad != NONE_BAD) {
        const DimsView view = dims.view();
        const std::size_t j = static_cast<std::size_t>(bad) % dims.d();
        const std::string range = view.kind[j] <= FLOAT_LOG
                                      ? "a number from " + number_text(view.low[j]) + " to " + number_text(view.high[j])
                                      : "a level, a whole number from 0 to " +
                                            std::to_string(static_cast<std::int64_t>(view.levels[j]) - 1);
        throw py::value_error("x" + at(bad, dims.d()) + " = " + number_text(rows.data[bad]) + ": expected " + range);
    }
    return out;
}

Array decode(const Kernel& kernel, const EncodedDims& dims, const py::object& u) {
    const auto rows = borrow<double, 2>(u, "u", {ANY, static_cast<py::ssize_t>(dims.d())}, "n");
    Array out = empty(rows.rows(), dims.d());
    double* to = out.mutable_data();
    const Unlocked unlocked(rows.rows() * dims.d());
    kernel.decode(dims.view(), rows.data, rows.rows(), to);
    return out;
}

}  // namespace

}  // namespace jaxhp

PYBIND11_MODULE(_core, m) {
    using namespace jaxhp;  // NOLINT(google-build-using-namespace)
    const char* requested = std::getenv("JAXHP_ISA");
    const std::string isa = choose_isa(requested == nullptr ? "" : requested);
    const Kernel kernel = kernel_for(isa);

    m.doc() = "The compiled kernel of jaxhp; signatures are in _core.pyi.";
    m.def("isa", [isa] { return isa; }, "The instruction set in use.");
    m.def("available_isas", &available_isas, "The instruction sets of this build and machine, best first.");
    m.def(
        "philox",
        [kernel](const py::object& seed, const py::object& purpose, const py::object& numbers, const py::object& d,
                 const py::object& attempt) { return philox(kernel, seed, purpose, numbers, d, attempt); },
        py::arg("seed"), py::arg("purpose"), py::arg("numbers"), py::arg("d"), py::arg("attempt") = 0,
        "(k, d) uniforms in [0, 1): row i is Philox4x64-10 with key (seed, purpose) and counter (1.., numbers[i], attempt, 0).");
    m.def(
        "sobol",
        [kernel](const py::object& seed, const py::object& numbers, const py::object& d, bool scramble) {
            return sobol(kernel, seed, numbers, d, scramble);
        },
        py::arg("seed"), py::arg("numbers"), py::arg("d"), py::arg("scramble").noconvert() = true,
        "(k, d) points of the Sobol sequence by index, Owen-scrambled by seed.");
    m.def(
        "transform", [kernel](const py::object& y) { return transform(kernel, y); }, py::arg("y"),
        "(n,) half-rank warped and standardised values; lower is better, non-finite is worst.");
    m.def(
        "ppf", [kernel](const py::object& p) { return ppf(kernel, p); }, py::arg("p"),
        "(n,) quantiles of the standard normal distribution.");
    py::class_<EncodedDims>(m, "EncodedDims", "The encoded space: snap, decode and encode of batches of rows.")
        .def(py::init(&encoded_dims), py::arg("kind"), py::arg("low"), py::arg("high"), py::arg("levels"), py::arg("parent"),
             py::arg("allowed"))
        .def_property_readonly("d", &EncodedDims::d)
        .def(
            "snap", [kernel](const EncodedDims& dims, const py::object& u) { return snap(kernel, dims, u); }, py::arg("u"),
            "(n, d) canonical points: clamped, discrete at their centres, NaN exactly where inactive.")
        .def(
            "decode", [kernel](const EncodedDims& dims, const py::object& u) { return decode(kernel, dims, u); },
            py::arg("u"), "(n, d) plain values of canonical points; NaN where u is.")
        .def(
            "encode", [kernel](const EncodedDims& dims, const py::object& x) { return encode(kernel, dims, x); },
            py::arg("x"), "(n, d) points of plain values; NaN where x is.");
    bind_search(m, kernel);
    bind_parzen(m, kernel);
    bind_cma(m, kernel);
}
