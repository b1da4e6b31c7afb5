// Parzen estimators over mixed and conditional spaces: joint densities of all active coordinates.
//
//   p(x) = sum_i v_i prod_j k_ij(x_j),  i = 0..n-1 the rows and i = n the prior, v their weights divided by the sum
//
// and j over the coordinates that are active in x. With h = bandwidth[j] and u the row's coordinate, k_ij is
//   continuous    a normal density of mean u and deviation h, truncated to [0, 1];
//   grid, ordinal its mass between the bounds of the level's cell;
//   categorical   1 - h at the row's choice, h / (levels - 1) at each other one (Aitchison & Aitken, Biometrika 63, 1976);
//   inactive in the row   uniform, so that rows of another branch say nothing of this one;
// and the prior's a normal of mean 1/2 and deviation 1, or uniform over choices (Bergstra et al., Algorithms for hyper-parameter
// optimization, NeurIPS 2011; Watanabe, arXiv 2304.11127, equations 8 to 10). Given where the branches are, p sums to 1 over
// the tree of a conditional space.
//
// A **column** holds log k_ij(x_j) of all i. Per dim the estimator keeps u, 1 / (sqrt(2) h) (0 where inactive) and the log of
// the normalisation, dims-major; for a discrete dim of few levels, the column's entries by the row's level, made when first used.
#pragma once

#include <cmath>

#include "arena.hpp"
#include "encoding.hpp"
#include "kernel.hpp"
#include "normal.hpp"
#include "phi.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr std::size_t TABLE_LEVELS = 64;  // most levels of a discrete dim that has a table
constexpr double NO_WEIGHT = -1e300;      // log weight of the rows that fill the last vector
constexpr double UNUSED = 1.0;            // no logarithm of a probability

struct Parzen {
    DimsView dims;
    std::size_t n;       // rows, without the prior
    std::size_t padded;  // n + 1, and what fills the last vector
    const double* bandwidth;
    double* log_weight;   // (padded,)
    double* u;            // (d, padded) 0.5 where inactive, and of the prior
    double* scale;        // (d, padded) 1 / (sqrt(2) h)
    double* log_norm;     // (d, padded) continuous: -log(sqrt(2 pi) h mass of [0, 1]); grids: -log mass of [0, 1]
    std::int32_t* level;  // (d, padded) discrete dims with a table: the row's level; `levels` of the prior, `levels + 1` inactive
    double** table;       // (d,) (levels, levels + 2) log k by the level of x and of the row; UNUSED where not made yet; or nullptr
};

inline bool is_continuous(const DimsView& dims, std::size_t j) { return dims.kind[j] <= FLOAT_LOG; }

inline bool has_table(const DimsView& dims, std::size_t j) {
    return !is_continuous(dims, j) && dims.levels[j] <= static_cast<double>(TABLE_LEVELS);
}

// The lower bound of a level's cell of a numeric grid; of level `levels`, the upper bound of the last one.
inline double cell_edge(const DimsView& dims, std::size_t j, double level) {
    if (dims.kind[j] != GRID_LOG) return level / dims.levels[j];
    if (level == 0.0) return 0.0;
    if (level == dims.levels[j]) return 1.0;
    return (std::log(dims.low[j] + level - 0.5) - dims.start[j]) / dims.span[j];
}

inline Parzen parzen_layout(Arena& arena, const DimsView& dims, std::size_t n) {
    const std::size_t padded = (n + 1 + DOUBLES - 1) / DOUBLES * DOUBLES;
    Parzen parzen{dims, n, padded, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
    parzen.log_weight = take<double>(arena, padded);
    parzen.u = take<double>(arena, dims.d * padded);
    parzen.scale = take<double>(arena, dims.d * padded);
    parzen.log_norm = take<double>(arena, dims.d * padded);
    parzen.level = take<std::int32_t>(arena, dims.d * padded);
    parzen.table = take<double*>(arena, dims.d);
    for (std::size_t j = 0; j < dims.d; ++j) {
        const std::size_t levels = has_table(dims, j) ? static_cast<std::size_t>(dims.levels[j]) : 0;
        double* table = take<double>(arena, levels * (levels + 2));
        if (arena.base != nullptr) parzen.table[j] = levels > 0 ? table : nullptr;
    }
    return parzen;
}

// Fills the columns of dim j that do not depend on x.
inline void fill_dim(Parzen& parzen, const ParzenView& view, std::size_t j) {
    constexpr double SQRT_2PI = 2.50662827463100050242;
    const DimsView& dims = parzen.dims;
    const std::size_t n = parzen.n;
    double* u = parzen.u + j * parzen.padded;
    double* scale = parzen.scale + j * parzen.padded;
    double* log_norm = parzen.log_norm + j * parzen.padded;
    const double h = view.bandwidth[j];
    for (std::size_t i = 0; i < n; ++i) {
        const double value = view.u[static_cast<std::size_t>(view.rows[i]) * dims.d + j];
        const bool inactive = value != value;
        u[i] = inactive ? 0.5 : value;
        scale[i] = inactive ? 0.0 : SQRT_HALF / h;
    }
    for (std::size_t i = n; i < parzen.padded; ++i) {
        u[i] = 0.5;
        scale[i] = SQRT_HALF;
    }
    if (has_table(dims, j)) {
        const std::int32_t levels = static_cast<std::int32_t>(dims.levels[j]);
        std::int32_t* level = parzen.level + j * parzen.padded;
        for (std::size_t i = 0; i < n; ++i)
            level[i] = scale[i] == 0.0 ? levels + 1 : static_cast<std::int32_t>(level_at(dims, j, u[i]));
        for (std::size_t i = n; i < parzen.padded; ++i) level[i] = levels;
        for (std::size_t l = 0; l < static_cast<std::size_t>(levels); ++l)
            parzen.table[j][l * (static_cast<std::size_t>(levels) + 2)] = UNUSED;
        return;
    }
    if (dims.kind[j] == CATEGORICAL) return;
    const bool continuous = is_continuous(dims, j);
    for (std::size_t i = 0; i < parzen.padded; i += DOUBLES) {
        const Double centre = load(u + i);
        const Double inverse = load(scale + i) * 1.41421356237309504880;
        const Double mass = wide_mass(-centre * inverse, (1.0 - centre) * inverse);
        const Double norm = continuous ? mass * SQRT_2PI / inverse : mass;
        store(log_norm + i, inverse > 0.0 ? -log(inverse > 0.0 ? norm : broadcast(1.0)) : broadcast(0.0));
    }
}

inline void fill(Parzen& parzen, const ParzenView& view) {
    parzen.bandwidth = view.bandwidth;
    double total = view.prior;
    for (std::size_t i = 0; i < parzen.n; ++i) total += view.weights[i];
    const double log_total = std::log(total);
    for (std::size_t i = 0; i < parzen.n; ++i)  // worse rows weigh alike
        parzen.log_weight[i] = i > 0 && view.weights[i] == view.weights[i - 1] ? parzen.log_weight[i - 1] : std::log(view.weights[i]) - log_total;
    parzen.log_weight[parzen.n] = std::log(view.prior) - log_total;
    for (std::size_t i = parzen.n + 1; i < parzen.padded; ++i) parzen.log_weight[i] = NO_WEIGHT;
    for (std::size_t j = 0; j < parzen.dims.d; ++j) fill_dim(parzen, view, j);
}

// log k of a numeric grid's cell [a, b] for kernels at u.
inline Double log_cell(double a, double b, Double u, Double inverse, Double log_norm) {
    const Double mass = normal_mass((a - u) * inverse, (b - u) * inverse);
    return inverse > 0.0 ? log(mass) + log_norm : broadcast(std::log(b - a));
}

// The entries of a table's row for x at a level.
inline const double* table_row(const Parzen& parzen, std::size_t j, std::size_t level) {
    const DimsView& dims = parzen.dims;
    const std::size_t levels = static_cast<std::size_t>(dims.levels[j]);
    double* row = parzen.table[j] + level * (levels + 2);
    if (row[0] != UNUSED) return row;
    const double h = parzen.bandwidth[j];
    if (dims.kind[j] == CATEGORICAL) {
        const double other = levels > 1 ? std::log(h / static_cast<double>(levels - 1)) : 0.0;
        for (std::size_t l = 0; l < levels; ++l) row[l] = other;
        row[level] = levels > 1 ? std::log(1.0 - h) : 0.0;
        row[levels] = row[levels + 1] = -std::log(dims.levels[j]);
        return row;
    }
    const double a = cell_edge(dims, j, static_cast<double>(level));
    const double b = cell_edge(dims, j, static_cast<double>(level + 1));
    for (std::size_t l = 0; l <= levels; l += DOUBLES) {
        Double u = broadcast(0.5);
        Double inverse = broadcast(1.0);
        for (std::size_t lane = 0; lane < DOUBLES && l + lane < levels; ++lane) {
            u[lane] = centre_of(dims, j, static_cast<double>(l + lane));
            inverse[lane] = 1.0 / h;
        }
        const Double norm = -log(wide_mass(-u * inverse, (1.0 - u) * inverse));
        const Double entries = log_cell(a, b, u, inverse, norm);
        for (std::size_t lane = 0; lane < DOUBLES && l + lane <= levels; ++lane) row[l + lane] = entries[lane];
    }
    row[levels + 1] = std::log(b - a);
    return row;
}

inline void add(double* to, Double entries) { store(to, load(to) + entries); }

// Adds the column of dim j at x to the rows' terms: the one place that knows the kernels.
inline void add_column(const Parzen& parzen, std::size_t j, double x, double* terms) {
    const DimsView& dims = parzen.dims;
    const std::size_t padded = parzen.padded;
    const double* u = parzen.u + j * padded;
    const double* scale = parzen.scale + j * padded;
    const double* log_norm = parzen.log_norm + j * padded;
    if (is_continuous(dims, j)) {
        for (std::size_t i = 0; i < padded; i += DOUBLES) {
            const Double z = (x - load(u + i)) * load(scale + i);
            add(terms + i, fma(-z, z, load(log_norm + i)));
        }
        return;
    }
    const double level = level_at(dims, j, x);
    if (has_table(dims, j)) {
        const double* row = table_row(parzen, j, static_cast<std::size_t>(level));
        const std::int32_t* levels = parzen.level + j * padded;
        for (std::size_t i = 0; i < padded; i += DOUBLES) {
            Double entries;
            for (std::size_t lane = 0; lane < DOUBLES; ++lane) entries[lane] = row[levels[i + lane]];
            add(terms + i, entries);
        }
        return;
    }
    if (dims.kind[j] == CATEGORICAL) {
        const double h = parzen.bandwidth[j];
        const double own = std::log(1.0 - h);
        const double other = std::log(h / (dims.levels[j] - 1.0));
        const double uniform = -std::log(dims.levels[j]);
        for (std::size_t i = 0; i < padded; i += DOUBLES) {
            Double entries;
            for (std::size_t lane = 0; lane < DOUBLES; ++lane) {
                const bool silent = scale[i + lane] == 0.0 || i + lane >= parzen.n;
                entries[lane] = silent ? uniform : level_at(dims, j, u[i + lane]) == level ? own : other;
            }
            add(terms + i, entries);
        }
        return;
    }
    const double a = cell_edge(dims, j, level);
    const double b = cell_edge(dims, j, level + 1.0);
    for (std::size_t i = 0; i < padded; i += DOUBLES)
        add(terms + i, log_cell(a, b, load(u + i), load(scale + i) * 1.41421356237309504880, load(log_norm + i)));
}

inline double log_sum(const double* terms, std::size_t padded) {
    Double largest = load(terms);
    for (std::size_t i = DOUBLES; i < padded; i += DOUBLES) {
        const Double next = load(terms + i);
        largest = next > largest ? next : largest;
    }
    double most = largest[0];
    for (std::size_t lane = 1; lane < DOUBLES; ++lane) most = largest[lane] > most ? largest[lane] : most;
    Double total = broadcast(0.0);
    for (std::size_t i = 0; i < padded; i += DOUBLES) total += exp_minus(most - load(terms + i));
    return most + std::log(sum(total));
}

// log p(x) of a canonical point; `terms` has room for (padded,).
inline double log_density_at(const Parzen& parzen, const double* x, double* terms) {
    for (std::size_t i = 0; i < parzen.padded; ++i) terms[i] = parzen.log_weight[i];
    for (std::size_t j = 0; j < parzen.dims.d; ++j)
        if (x[j] == x[j]) add_column(parzen, j, x[j], terms);
    return log_sum(terms, parzen.padded);
}

inline std::size_t density_memory(const DimsView& dims, const ParzenView& view) {
    Arena arena{nullptr, 0};
    const Parzen parzen = parzen_layout(arena, dims, view.n);
    take<double>(arena, parzen.padded);
    return arena.used;
}

inline void log_density(const DimsView& dims, const ParzenView& view, const double* u, std::size_t m, unsigned char* memory,
                        double* out) {
    Arena arena{memory, 0};
    Parzen parzen = parzen_layout(arena, dims, view.n);
    double* terms = take<double>(arena, parzen.padded);
    fill(parzen, view);
    for (std::size_t i = 0; i < m; ++i) out[i] = log_density_at(parzen, u + i * dims.d, terms);
}

}  // namespace jaxhp::JAXHP_ISA
