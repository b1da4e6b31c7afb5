// The part of jaxhp._core that knows CMA-ES.
#pragma once

#include <pybind11/pybind11.h>

#include "kernel.hpp"

namespace jaxhp {

void bind_cma(pybind11::module_& m, const Kernel& kernel);

}  // namespace jaxhp
