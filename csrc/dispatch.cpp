// Compiled with baseline flags: nothing here may run on AVX before the processor has been asked.
#include "dispatch.hpp"

#include <stdexcept>

namespace jaxhp {

#if defined(__x86_64__)
namespace avx512 {
Kernel table();
}
namespace avx2 {
Kernel table();
}
#endif
namespace baseline {
Kernel table();
}

std::vector<std::string> available_isas() {
    std::vector<std::string> isas;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (avx512) isas.emplace_back("avx512");
    if (avx2) isas.emplace_back("avx2");
#endif
    isas.emplace_back("baseline");
    return isas;
}

std::string choose_isa(const std::string& requested) {
    const std::vector<std::string> isas = available_isas();
    if (requested.empty()) return isas.front();
    std::string names;
    for (const std::string& isa : isas) {
        if (isa == requested) return isa;
        names += names.empty() ? isa : ", " + isa;
    }
    throw std::invalid_argument("JAXHP_ISA='" + requested + "': this machine has " + names +
                                "; use one of them, or unset it for the best");
}

Kernel kernel_for(const std::string& isa) {
    const std::string chosen = choose_isa(isa);
#if defined(__x86_64__)
    if (chosen == "avx512") return avx512::table();
    if (chosen == "avx2") return avx2::table();
#endif
    return baseline::table();
}

}  // namespace jaxhp
