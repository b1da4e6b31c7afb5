// Borrows a NumPy array for one call, or refuses it with a sentence; never copies.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <string>

namespace jaxhp {

namespace py = pybind11;

constexpr py::ssize_t ANY = -1;

// `letters` names the free axes in messages: borrow<double, 2>(u, "u", {ANY, 5}, "n") wants "(n, 5)".
template <std::size_t Rank>
using Shape = std::array<py::ssize_t, Rank>;

template <class T, std::size_t Rank>
struct Borrowed {
    const T* data;
    Shape<Rank> shape;
    std::size_t rows() const { return static_cast<std::size_t>(shape[0]); }
};

template <class T>
struct NumpyName;
template <>
struct NumpyName<double> {
    static constexpr const char* name = "float64";
    static constexpr char kind = 'f';
};
template <>
struct NumpyName<std::int64_t> {
    static constexpr const char* name = "int64";
    static constexpr char kind = 'i';
};
template <>
struct NumpyName<std::int32_t> {
    static constexpr const char* name = "int32";
    static constexpr char kind = 'i';
};
template <>
struct NumpyName<std::int8_t> {
    static constexpr const char* name = "int8";
    static constexpr char kind = 'i';
};
template <>
struct NumpyName<bool> {
    static constexpr const char* name = "bool_";
    static constexpr char kind = 'b';
};

inline std::string shape_text(const py::ssize_t* shape, std::size_t rank, const char* letters) {
    std::string text = "(";
    for (std::size_t axis = 0; axis < rank; ++axis) {
        if (axis > 0) text += ", ";
        text += shape[axis] == ANY ? std::string(1, *letters++) : std::to_string(shape[axis]);
    }
    return text + (rank == 1 ? ",)" : ")");
}

template <class T, std::size_t Rank>
Borrowed<T, Rank> borrow(const py::object& given, const char* name, Shape<Rank> wanted, const char* letters) {
    using Name = NumpyName<T>;
    const auto expected = [&] {
        return std::string(name) + ": expected C-contiguous " + Name::name + " " +
               shape_text(wanted.data(), Rank, letters) + ", got ";
    };
    const auto remedy = [&] { return "; use np.ascontiguousarray(" + std::string(name) + ", np." + Name::name + ")"; };
    if (!py::isinstance<py::array>(given))
        throw py::type_error(expected() + "a " + Py_TYPE(given.ptr())->tp_name + remedy());
    const py::array array = py::reinterpret_borrow<py::array>(given);
    const py::dtype dtype = array.dtype();
    const bool same_type = dtype.kind() == Name::kind && dtype.itemsize() == sizeof(T) && dtype.byteorder() != '>';
    constexpr int layout = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    const bool same_layout = (array.flags() & layout) == layout;
    if (!same_type || !same_layout) {
        const char* order = same_layout ? "" : "non-contiguous ";
        throw py::type_error(expected() + order + std::string(py::str(dtype)) + " " +
                             shape_text(array.shape(), static_cast<std::size_t>(array.ndim()), "") + remedy());
    }
    bool same_shape = array.ndim() == static_cast<py::ssize_t>(Rank);
    Shape<Rank> shape{};
    for (std::size_t axis = 0; same_shape && axis < Rank; ++axis) {
        shape[axis] = array.shape(static_cast<py::ssize_t>(axis));
        same_shape = wanted[axis] == ANY || wanted[axis] == shape[axis];
    }
    if (!same_shape)
        throw py::value_error(expected() + "shape " +
                              shape_text(array.shape(), static_cast<std::size_t>(array.ndim()), ""));
    return {static_cast<const T*>(array.data()), shape};
}

// An int in [0, below]; numpy integers are welcome, floats are not.
inline std::uint64_t whole_number(const py::object& given, const char* name, std::uint64_t most = UINT64_MAX) {
    const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(given.ptr()));
    if (!index) PyErr_Clear();
    std::uint64_t value = 0;
    bool fits = false;
    if (index) {
        value = PyLong_AsUnsignedLongLong(index.ptr());
        fits = !(value == UINT64_MAX && PyErr_Occurred() != nullptr) && value <= most;
        PyErr_Clear();
    }
    if (fits) return value;
    const std::string message = std::string(name) + ": expected an int from 0 to " + std::to_string(most) + ", got " +
                                std::string(py::str(py::repr(given)));
    if (!index) throw py::type_error(message);
    throw py::value_error(message);
}

}  // namespace jaxhp
