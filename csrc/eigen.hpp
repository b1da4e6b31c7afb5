// Eigenvalues and eigenvectors of small symmetric matrices, up to a few hundred rows: A = Z diag(lambda) Z^T.
//
// Householder reflections make A tridiagonal (Golub & Van Loan, Matrix Computations, 4th ed., algorithm 8.3.1), and QR steps with
// Wilkinson's shift make that diagonal (8.3.2 and 8.3.3). Every inner loop runs along rows of whole vectors: the reflections, because
// a symmetric matrix' column is its row, and the rotations, because they act on the rows of Z^T. Unlike LAPACK's, the bits
// depend on the instruction set alone.
//
// Matrices are (n, stride) with stride = `padded(n)`, columns from n on zero.
#pragma once

#include <cmath>

#include "arena.hpp"
#include "simd.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr std::size_t MOST_STEPS = 60;  // QR steps per row; 2 are usual
constexpr double ROUNDING = 0x1p-53;

inline std::size_t padded(std::size_t n) { return (n + DOUBLES - 1) / DOUBLES * DOUBLES; }

// to += factor * row, whole vectors from column `first` (rounded down) on.
inline void add_multiple(double* to, double factor, const double* row, std::size_t first, std::size_t stride) {
    const Double wide = broadcast(factor);
    for (std::size_t j = first / DOUBLES * DOUBLES; j < stride; j += DOUBLES) store(to + j, fma(wide, load(row + j), load(to + j)));
}

inline double product(const double* a, const double* b, std::size_t stride) {
    Double total = broadcast(0.0);
    for (std::size_t j = 0; j < stride; j += DOUBLES) total = fma(load(a + j), load(b + j), total);
    return sum(total);
}

struct Eigen {
    std::size_t n;
    std::size_t stride;
    double* A;       // (n, stride) given; its rows end as Householder vectors
    double* Zt;      // (n, stride) row i: the eigenvector of values[i]
    double* values;  // (n,) in no order
    double* off;     // (n,) beside the diagonal
    double* beta;    // (n,) of the reflections I - beta v v^T
    double* p;       // (stride,)
    double* w;       // (stride,)
};

inline Eigen eigen_layout(Arena& arena, std::size_t n) {
    const std::size_t stride = padded(n);
    Eigen eigen{n, stride, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
    eigen.A = take<double>(arena, n * stride);
    eigen.Zt = take<double>(arena, n * stride);
    eigen.values = take<double>(arena, n);
    eigen.off = take<double>(arena, n);
    eigen.beta = take<double>(arena, n);
    eigen.p = take<double>(arena, stride);
    eigen.w = take<double>(arena, stride);
    return eigen;
}

// values and off become the tridiagonal matrix; row k of A its reflection's v, zero up to column k.
inline void tridiagonalize(Eigen& eigen) {
    const std::size_t n = eigen.n, stride = eigen.stride;
    for (std::size_t k = 0; k < n; ++k) {
        double* v = eigen.A + k * stride;
        eigen.values[k] = v[k];
        eigen.beta[k] = 0.0;
        for (std::size_t j = 0; j <= k; ++j) v[j] = 0.0;
        if (k + 2 >= n) {
            if (k + 2 == n) eigen.off[k] = v[k + 1];
            continue;
        }
        const double head = v[k + 1];
        v[k + 1] = 0.0;
        const double tail = product(v, v, stride);
        v[k + 1] = head;
        eigen.off[k] = head;
        if (!(tail > 0.0)) continue;
        const double length = std::sqrt(head * head + tail);
        eigen.off[k] = head > 0.0 ? -length : length;
        v[k + 1] = head - eigen.off[k];  // away from zero: no cancellation
        const double beta = eigen.beta[k] = 2.0 / (v[k + 1] * v[k + 1] + tail);
        for (std::size_t j = 0; j < stride; ++j) eigen.p[j] = 0.0;
        for (std::size_t i = k + 1; i < n; ++i) add_multiple(eigen.p, beta * v[i], eigen.A + i * stride, k + 1, stride);
        for (std::size_t j = 0; j <= k; ++j) eigen.p[j] = 0.0;  // the vector that holds column k + 1 begins before it
        const double half = -0.5 * beta * product(eigen.p, v, stride);
        for (std::size_t j = 0; j < stride; ++j) eigen.w[j] = eigen.p[j] + half * v[j];
        for (std::size_t i = k + 1; i < n; ++i) {
            double* row = eigen.A + i * stride;
            const Double a = broadcast(-v[i]), b = broadcast(-eigen.w[i]);
            for (std::size_t j = (k + 1) / DOUBLES * DOUBLES; j < stride; j += DOUBLES)
                store(row + j, fma(a, load(eigen.w + j), fma(b, load(v + j), load(row + j))));
        }
    }
}

// Zt becomes the transpose of the product of the reflections.
inline void accumulate(Eigen& eigen) {
    const std::size_t n = eigen.n, stride = eigen.stride;
    for (std::size_t i = 0; i < n * stride; ++i) eigen.Zt[i] = 0.0;
    for (std::size_t i = 0; i < n; ++i) eigen.Zt[i * stride + i] = 1.0;
    for (std::size_t k = n; k-- > 0;) {
        if (eigen.beta[k] == 0.0) continue;
        const double* v = eigen.A + k * stride;
        for (std::size_t j = 0; j < stride; ++j) eigen.p[j] = 0.0;
        for (std::size_t i = k + 1; i < n; ++i) add_multiple(eigen.p, eigen.beta[k] * v[i], eigen.Zt + i * stride, k + 1, stride);
        for (std::size_t i = k + 1; i < n; ++i) add_multiple(eigen.Zt + i * stride, -v[i], eigen.p, k + 1, stride);
    }
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < i; ++j) {
            const double kept = eigen.Zt[i * stride + j];
            eigen.Zt[i * stride + j] = eigen.Zt[j * stride + i];
            eigen.Zt[j * stride + i] = kept;
        }
}

// One implicit QR step on rows first..last of the tridiagonal matrix, whose off-diagonal entries there are not zero.
inline void qr_step(Eigen& eigen, std::size_t first, std::size_t last) {
    double* d = eigen.values;
    double* e = eigen.off;
    const double delta = 0.5 * (d[last - 1] - d[last]);
    const double corner = e[last - 1];
    const double root = std::sqrt(delta * delta + corner * corner);
    const double shift = d[last] - corner * (corner / (delta + (delta < 0.0 ? -root : root)));
    double x = d[first] - shift;
    double z = e[first];
    for (std::size_t k = first; k < last; ++k) {
        const double r = std::sqrt(x * x + z * z);
        const double c = r > 0.0 ? x / r : 1.0;
        const double s = r > 0.0 ? z / r : 0.0;
        if (k > first) e[k - 1] = r;
        const double gap = d[k + 1] - d[k];
        const double moved = s * (s * gap + 2.0 * c * e[k]);
        e[k] = c * s * gap + (c - s) * (c + s) * e[k];
        d[k] += moved;
        d[k + 1] -= moved;
        if (k + 1 < last) {
            x = e[k];
            z = s * e[k + 1];
            e[k + 1] *= c;
        }
        double* upper = eigen.Zt + k * eigen.stride;
        double* lower = upper + eigen.stride;
        const Double wide_c = broadcast(c), wide_s = broadcast(s);
        for (std::size_t j = 0; j < eigen.stride; j += DOUBLES) {
            const Double a = load(upper + j), b = load(lower + j);
            store(upper + j, fma(wide_c, a, wide_s * b));
            store(lower + j, fma(wide_c, b, -wide_s * a));
        }
    }
}

// Decomposes A. Whether it converged: it does where A is finite.
inline bool decompose(Eigen& eigen) {
    tridiagonalize(eigen);
    accumulate(eigen);
    const double* d = eigen.values;
    double* e = eigen.off;
    std::size_t left = MOST_STEPS * eigen.n;
    const auto split = [&](std::size_t k) { return std::fabs(e[k]) <= ROUNDING * (std::fabs(d[k]) + std::fabs(d[k + 1])); };
    for (std::size_t last = eigen.n; last-- > 1;) {
        while (!split(last - 1)) {
            if (left-- == 0) return false;
            std::size_t first = last - 1;
            while (first > 0 && !split(first - 1)) --first;
            qr_step(eigen, first, last);
        }
    }
    return true;
}

}  // namespace jaxhp::JAXHP_ISA
