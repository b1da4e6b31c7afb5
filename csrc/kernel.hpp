// The functions of one instruction set, and the plain structs they exchange.
//
// kernel.cpp is compiled once per instruction set into namespace jaxhp::JAXHP_ISA; each compilation fills one `Kernel`.
// Another function takes four lines: its member here, its entry in `table()` (kernel.cpp), its binding (bindings.cpp) and
// its signature in jaxhp/_core.pyi. The function itself lives in a header of its own, inside namespace jaxhp::JAXHP_ISA,
// and uses no std template and no external inline function: such a symbol would be weak, shared between the instruction
// sets by the linker, and the AVX-512 copy would crash the baseline path (tests/test_build.py reads `nm`).
//
// Letters: n rows, d dims, k numbers. Arrays are C-contiguous and borrowed for one call.
#pragma once

#include <cstddef>
#include <cstdint>

namespace jaxhp {

// How a coordinate is encoded (docs/architecture.md, "The encoded space").
enum Kind : std::int8_t { FLOAT = 0, FLOAT_LOG = 1, GRID = 2, GRID_LOG = 3, ORDINAL = 4, CATEGORICAL = 5 };

// The encoded space, borrowed from an `EncodedDims` (dims.hpp), which has checked it.
struct DimsView {
    std::size_t d;
    std::size_t allowed_columns;
    const std::int8_t* kind;      // (d,)
    const double* low;            // (d,)
    const double* high;           // (d,)
    const double* levels;         // (d,) whole numbers; 0 where continuous
    const std::int32_t* parent;   // (d,) -1: none
    const std::uint8_t* allowed;  // (d, allowed_columns) 0 or 1
    const double* start;          // (d,) kinds 1 and 3: log of the lower end of the axis
    const double* span;           // (d,) kinds 1 and 3: log of the upper end - start
};

constexpr std::int64_t NONE_BAD = -1;

struct Kernel {
    // (k, d) uniforms in [0, 1): row i is Philox4x64-10 with key (seed, purpose), counter (1.., numbers[i], attempt, 0).
    void (*philox)(std::uint64_t seed, std::uint64_t purpose, const std::int64_t* numbers, std::size_t k, std::size_t d,
                   std::uint64_t attempt, double* out);
    // (k, d) Sobol points; numbers in [0, 2^32). scrambled: values in (0, 1). Plain: d <= 256, values in [0, 1).
    void (*sobol)(std::uint64_t seed, const std::int64_t* numbers, std::size_t k, std::size_t d, bool scramble,
                  double* out);
    // (n,) the output transform; `scratch` has room for 2 n doubles.
    void (*transform)(const double* y, std::size_t n, double* out, double* scratch);
    // The standard normal quantile of p (n,).
    void (*ppf)(const double* p, std::size_t n, double* out);
    // (n, d) -> (n, d). Both return NONE_BAD, or row * d + dim of the first coordinate that is not valid.
    std::int64_t (*snap)(const DimsView& dims, const double* u, std::size_t n, double* out);
    std::int64_t (*encode)(const DimsView& dims, const double* x, std::size_t n, double* out);
    void (*decode)(const DimsView& dims, const double* u, std::size_t n, double* out);
};

}  // namespace jaxhp
