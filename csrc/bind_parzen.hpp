// The part of jaxhp._core that knows Parzen estimators.
#pragma once

#include <pybind11/pybind11.h>

#include "kernel.hpp"

namespace jaxhp {

void bind_parzen(pybind11::module_& m, const Kernel& kernel);

}  // namespace jaxhp
