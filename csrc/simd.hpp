// Vectors of the widest registers of the instruction set, and exp and log on them.
//
// Float and Double are compiler vectors (GCC and Clang), so + - * / and comparisons are the language's own; here are only
// what the language lacks. exp: x = k log 2 + r with |r| <= log(2) / 2, a polynomial in r, k added to the exponent (Cody and
// Waite, Software Manual for the Elementary Functions, 1980). The float32 coefficients are minimax fits of this project
// (relative error 8e-8 for exp, 4e-7 for log1p's remainder); the float64 ones are Taylor's (2e-16).
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace jaxhp::JAXHP_ISA {

#if defined(__AVX512F__)
constexpr std::size_t REGISTER = 64;
#elif defined(__AVX2__)
constexpr std::size_t REGISTER = 32;
#else
constexpr std::size_t REGISTER = 16;
#endif
constexpr std::size_t FLOATS = REGISTER / sizeof(float);
constexpr std::size_t DOUBLES = REGISTER / sizeof(double);

typedef float Float __attribute__((vector_size(REGISTER)));
typedef double Double __attribute__((vector_size(REGISTER)));
typedef std::int32_t Int32 __attribute__((vector_size(REGISTER)));
typedef std::int64_t Int64 __attribute__((vector_size(REGISTER)));

inline Float broadcast(float x) { return Float{} + x; }
inline Double broadcast(double x) { return Double{} + x; }

inline Float load(const float* from) {
    Float v;
    __builtin_memcpy(&v, from, sizeof v);
    return v;
}
inline Double load(const double* from) {
    Double v;
    __builtin_memcpy(&v, from, sizeof v);
    return v;
}
inline void store(float* to, Float v) { __builtin_memcpy(to, &v, sizeof v); }
inline void store(double* to, Double v) { __builtin_memcpy(to, &v, sizeof v); }

// a b + c, in one rounding where the processor can. (Masked forms: GCC 12 warns of its own unmasked ones, bug 105593.)
#if defined(__AVX512F__)
inline Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
inline Double fma(Double a, Double b, Double c) { return _mm512_fmadd_pd(a, b, c); }
inline Float sqrt(Float x) { return _mm512_maskz_sqrt_ps(0xffff, x); }
inline Double sqrt(Double x) { return _mm512_maskz_sqrt_pd(0xff, x); }
#elif defined(__AVX2__)
inline Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
inline Double fma(Double a, Double b, Double c) { return _mm256_fmadd_pd(a, b, c); }
inline Float sqrt(Float x) { return _mm256_sqrt_ps(x); }
inline Double sqrt(Double x) { return _mm256_sqrt_pd(x); }
#else
inline Float fma(Float a, Float b, Float c) { return a * b + c; }
inline Double fma(Double a, Double b, Double c) { return a * b + c; }
#if defined(__SSE2__)
inline Float sqrt(Float x) { return _mm_sqrt_ps(x); }
inline Double sqrt(Double x) { return _mm_sqrt_pd(x); }
#else
inline Float sqrt(Float x) {
    for (std::size_t i = 0; i < FLOATS; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
}
inline Double sqrt(Double x) {
    for (std::size_t i = 0; i < DOUBLES; ++i) x[i] = __builtin_sqrt(x[i]);
    return x;
}
#endif
#endif

#if defined(__AVX512F__)
inline double sum(Double v) {
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
    return v[0] + v[1];
}
#elif defined(__AVX2__)
inline double sum(Double v) {
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1);
    return v[0] + v[1];
}
#else
inline double sum(Double v) { return v[0] + v[1]; }
#endif

// exp(-x) for x >= 0; below 1e-37 from x = 85 on.
inline Float exp_minus(Float x) {
    const Float shift = broadcast(12582912.0f);  // 1.5 2^23: adding it rounds to an integer, held in the low bits
    const Float y = x < 85.0f ? -x : broadcast(-85.0f);
    const Float t = fma(y, broadcast(1.44269504f), shift);
    const Float k = t - shift;
    const Float r = fma(k, broadcast(-1.42860677e-6f), fma(k, broadcast(-0.693145752f), y));
    Float p = fma(r, broadcast(0.00829764937f), broadcast(0.0419154197f));
    p = fma(r, p, broadcast(0.16667575f));
    p = fma(r, p, broadcast(0.499988945f));
    p = fma(r, p, broadcast(0.999999692f));
    p = fma(r, p, broadcast(1.00000007f));
    return reinterpret_cast<Float>(reinterpret_cast<Int32>(p) + (reinterpret_cast<Int32>(t) << 23));
}

// exp(-x) for x >= 0; below 1e-304 from x = 700 on. NaN gives a tiny number: callers look at x.
inline Double exp_minus(Double x) {
    const Double shift = broadcast(6755399441055744.0);  // 1.5 2^52
    const Double y = x < 700.0 ? -x : broadcast(-700.0);
    const Double t = fma(y, broadcast(1.44269504088896340736), shift);
    const Double k = t - shift;
    const Double r = fma(k, broadcast(-1.90821492927058770002e-10), fma(k, broadcast(-6.93147180369123816490e-1), y));
    constexpr double INVERSE_FACTORIAL[] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                                            1.0 / 5040,      1.0 / 720,      1.0 / 120,     1.0 / 24,     1.0 / 6,
                                            0.5,             1.0,            1.0};
    Double p = broadcast(INVERSE_FACTORIAL[0]);
    for (int i = 1; i <= 12; ++i) p = fma(r, p, broadcast(INVERSE_FACTORIAL[i]));
    return reinterpret_cast<Double>(reinterpret_cast<Int64>(p) + (reinterpret_cast<Int64>(t) << 52));
}

// log x for normal x > 0: log m = 2 atanh(s) with s = (m - 1) / (m + 1) of the mantissa m in [sqrt(1/2), sqrt(2)).
inline Double log(Double x) {
    const Int64 bits = reinterpret_cast<Int64>(x);
    const Int64 exponent = (bits - 0x3fe6a09e667f3bcd) >> 52;
    const Double f = reinterpret_cast<Double>(bits - (exponent << 52)) - 1.0;
    const Double s = f / (f + 2.0);
    const Double square = s * s;
    Double p = broadcast(1.0 / 23);
    for (int i = 21; i >= 3; i -= 2) p = fma(p, square, broadcast(1.0 / i));
    const Double k = __builtin_convertvector(exponent, Double);
    const Double small = fma(k, broadcast(1.90821492927058770002e-10), 2.0 * s * square * p);
    return fma(k, broadcast(6.93147180369123816490e-1), small + 2.0 * s);
}

inline Float log(Float x) {
    const Int32 bits = reinterpret_cast<Int32>(x);
    const Int32 exponent = (bits - 0x3f3504f3) >> 23;  // mantissa in [sqrt(1/2), sqrt(2))
    const Float f = reinterpret_cast<Float>(bits - (exponent << 23)) - 1.0f;
    Float p = fma(f, broadcast(-0.079742089f), broadcast(0.126556946f));
    p = fma(f, p, broadcast(-0.129892776f));
    p = fma(f, p, broadcast(0.142099461f));
    p = fma(f, p, broadcast(-0.166415815f));
    p = fma(f, p, broadcast(0.20001201f));
    p = fma(f, p, broadcast(-0.250003039f));
    p = fma(f, p, broadcast(0.333333299f));
    const Float square = f * f;
    const Float remainder = fma(square * f, p, square * -0.5f) + f;
    return fma(__builtin_convertvector(exponent, Float), broadcast(0.693147181f), remainder);
}

}  // namespace jaxhp::JAXHP_ISA
