// Compiled once per instruction set, with -DJAXHP_ISA=avx512|avx2|baseline and its flags (CMakeLists.txt).
#include "kernel.hpp"

#include "cma.hpp"
#include "encoding.hpp"
#include "maximize.hpp"
#include "philox.hpp"
#include "ppf.hpp"
#include "propose.hpp"
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
    kernel.log_h = log_h;
    kernel.log_cdf = log_cdf;
    kernel.predict_memory = predict_memory;
    kernel.evaluate_memory = evaluate_memory;
    kernel.search_memory = search_memory;
    kernel.choice_memory = choice_memory;
    kernel.predict = predict;
    kernel.evaluate = evaluate_acquisition;
    kernel.maximize = maximize;
    kernel.best_of = best_of;
    kernel.density_memory = density_memory;
    kernel.proposal_memory = proposal_memory;
    kernel.log_density = log_density;
    kernel.propose = propose;
    kernel.cma_memory = cma_memory;
    kernel.cma_update = cma_update;
    kernel.cma_decompose = cma_decompose;
    kernel.cma_draw = cma_draw;
    return kernel;
}

}  // namespace jaxhp::JAXHP_ISA
