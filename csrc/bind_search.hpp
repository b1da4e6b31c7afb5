// The part of jaxhp._core that searches a posterior.
#pragma once

#include <pybind11/pybind11.h>

#include "kernel.hpp"

namespace jaxhp {

void bind_search(pybind11::module_& m, const Kernel& kernel);

}  // namespace jaxhp
