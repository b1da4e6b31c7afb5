// Compiled once per instruction set, with -DJAXHP_ISA=avx512|avx2|baseline and its flags (CMakeLists.txt).
#include "kernel.hpp"

#include "encoding.hpp"
#include "philox.hpp"
#include "ppf.hpp"
#include "sobol.hpp"
#include "transform.hpp"

namespace jaxhp::JAXHP_ISA {

Kernel table();

Kernel table() {
    Kernel kernel{};
    kernel.philox = philox;
    kernel.sobol = sobol;
    kernel.transform = transform;
    kernel.ppf = ppf;
    kernel.snap = snap;
    kernel.encode = encode;
    kernel.decode = decode;
    return kernel;
}

}  // namespace jaxhp::JAXHP_ISA
