// Chooses the instruction set at run time.
#pragma once

#include <string>
#include <vector>

#include "kernel.hpp"

namespace jaxhp {

// What this machine can run and this build holds, best first; "baseline" is always the last.
std::vector<std::string> available_isas();

// `requested`: one of `available_isas()`, or empty for the best. Throws std::invalid_argument naming what is available.
std::string choose_isa(const std::string& requested);

// The functions of an available instruction set.
Kernel kernel_for(const std::string& isa);

}  // namespace jaxhp
