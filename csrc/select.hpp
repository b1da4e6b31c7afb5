// The best of many candidates by exact value, without working out every value.
//
// Each has an upper bound of its value (`bound` and `term_bound`, float32). They are scored exactly in order of the bound, a
// block at a time, until no bound exceeds the worst value kept; then the best of all are certain.
#pragma once

#include "acquisition.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr double SAME = 1e-6;  // sup norm of a repetition
constexpr std::size_t ENOUGH = 160;

struct Pool {
    std::size_t count;
    std::size_t d;
    double* points;       // (count, d) canonical
    float* bounds;        // (count,)
    std::uint32_t* heap;  // (heaped,) the largest bound on top
    float* query;         // (d, FLOATS)
    std::size_t heaped;
    std::size_t scored;
};

inline Pool lay_out_pool(Arena& arena, std::size_t count, std::size_t d) {
    Pool pool{};
    pool.count = count;
    pool.d = d;
    pool.points = take<double>(arena, count * d);
    pool.bounds = take<float>(arena, count);
    pool.heap = take<std::uint32_t>(arena, count);
    pool.query = take<float>(arena, d * FLOATS);
    return pool;
}

// Whether `point` is one of `rows` (count, d); two inactive coordinates are equal.
inline bool is_among(const double* rows, std::size_t count, std::size_t d, const double* point) {
    for (std::size_t i = 0; i < count; ++i) {
        const double* row = rows + i * d;
        std::size_t j = 0;
        for (; j < d; ++j) {
            const double difference = row[j] - point[j];
            const bool same = difference == difference ? difference <= SAME && -difference <= SAME
                                                       : row[j] != row[j] && point[j] != point[j];
            if (!same) break;
        }
        if (j == d) return true;
    }
    return false;
}

inline void bound_points(const Acquisition& acquisition, Pool& pool) {
    const AcquisitionView& view = *acquisition.view;
    const std::size_t d = pool.d;
    for (std::size_t first = 0; first < pool.count; first += FLOATS) {
        Float total{};
        const std::size_t width = pool.count - first < FLOATS ? pool.count - first : FLOATS;
        for (std::size_t p = 0; p < view.posterior_count; ++p) {
            const Prepared& prepared = acquisition.prepared[p];
            for (std::size_t a = 0; a < d; ++a) {
                const double factor = a < prepared.numbers ? prepared.scale[a] : 1.0;
                const double* column = pool.points + first * d + prepared.order[a];
                for (std::size_t c = 0; c < FLOATS; ++c) {
                    const double value = column[(c < width ? c : 0) * d];
                    pool.query[a * FLOATS + c] = static_cast<float>((value == value ? value : 0.5) * factor);
                }
            }
            Float mean;
            Float largest;
            bound(prepared, pool.query, mean, largest);
            const float s2 = static_cast<float>(prepared.s2);
            const Float left = s2 - largest * (1.0f - 4e-6f);
            const float least = 1e-6f * s2;
            const Float variance = left > least ? left : broadcast(least);
            for (std::size_t t = 0; t < view.term_count; ++t)
                if (view.terms[t].posterior == p)
                    total += term_bound(view.terms[t], mean, variance, static_cast<float>(prepared.mean_error));
        }
        for (std::size_t c = 0; c < width; ++c) pool.bounds[first + c] = total[c] == total[c] ? total[c] : -__builtin_inff();
    }
}

// Children of entry i are 2 i + 1 and 2 i + 2.
inline void sift_down(Pool& pool, std::size_t at) {
    const std::uint32_t moved = pool.heap[at];
    for (std::size_t child = 2 * at + 1; child < pool.heaped; child = 2 * at + 1) {
        if (child + 1 < pool.heaped && pool.bounds[pool.heap[child + 1]] > pool.bounds[pool.heap[child]]) ++child;
        if (!(pool.bounds[pool.heap[child]] > pool.bounds[moved])) break;
        pool.heap[at] = pool.heap[child];
        at = child;
    }
    pool.heap[at] = moved;
}

inline std::size_t pop(Pool& pool) {
    const std::size_t top = pool.heap[0];
    pool.heap[0] = pool.heap[--pool.heaped];
    if (pool.heaped > 0) sift_down(pool, 0);
    return top;
}

// A drawn path has no bound: every value is worked out.
inline void rank(const Acquisition& acquisition, Pool& pool) {
    if (acquisition.draws) {
        for (std::size_t i = 0; i < pool.count; ++i) pool.bounds[i] = __builtin_inff();
    } else {
        bound_points(acquisition, pool);
    }
    pool.heaped = pool.count;
    for (std::size_t i = 0; i < pool.count; ++i) pool.heap[i] = static_cast<std::uint32_t>(i);
    for (std::size_t i = pool.heaped / 2; i > 0; --i) sift_down(pool, i - 1);
}

// Squared distance in length scales of the first posterior, times 5: the q^2 of its kernel.
inline double separation(const Prepared& p, const double* u, const double* v) {
    double square = 0;
    for (std::size_t a = 0; a < p.d; ++a) {
        const double delta = coordinate(p, a, u) - coordinate(p, a, v);
        if (a < p.numbers) {
            square += delta * delta;
        } else if (delta != 0.0) {
            square += p.scale[a] * p.scale[a];
        }
    }
    return square;
}

// Points kept by `select`, best first.
struct Kept {
    std::size_t wanted;
    std::size_t count;
    std::size_t* chosen;
    double* values;
};

inline void forget(Kept& kept, std::size_t at) {
    --kept.count;
    for (; at < kept.count; ++at) {
        kept.values[at] = kept.values[at + 1];
        kept.chosen[at] = kept.chosen[at + 1];
    }
}

// Enters a point, unless a better one is within `apart`; leaves none that is within `apart` of it.
inline void enter(Kept& kept, const Acquisition& acquisition, const Pool& pool, std::size_t index, double value, double apart) {
    if (!(value > -__builtin_inf())) return;
    if (kept.count == kept.wanted && !(value > kept.values[kept.count - 1])) return;
    for (std::size_t i = kept.count; apart > 0 && i > 0; --i) {
        const double* other = pool.points + kept.chosen[i - 1] * pool.d;
        if (separation(acquisition.prepared[0], pool.points + index * pool.d, other) >= apart) continue;
        if (kept.values[i - 1] >= value) return;
        forget(kept, i - 1);
    }
    std::size_t at = kept.count < kept.wanted ? kept.count++ : kept.count - 1;
    for (; at > 0 && kept.values[at - 1] < value; --at) {
        kept.values[at] = kept.values[at - 1];
        kept.chosen[at] = kept.chosen[at - 1];
    }
    kept.values[at] = value;
    kept.chosen[at] = index;
}

// The best `wanted` points of a ranked pool by exact value, best first, none of them among `excluded`; returns how many.
// Where `apart` > 0, one point speaks for all within that squared separation, and the search for others is given up after
// ENOUGH points in order of their bounds, which a drawn path does not have.
inline std::size_t select(const Acquisition& acquisition, Pool& pool, std::size_t wanted, double apart, const double* excluded,
                          std::size_t excluded_count, std::size_t* chosen, double* values) {
    Kept kept{wanted, 0, chosen, values};
    while (pool.heaped > 0) {
        if (apart > 0 && kept.count > 0 && pool.scored >= ENOUGH && !acquisition.draws) break;
        const double least = kept.count == wanted ? values[wanted - 1] : -__builtin_inf();
        if (kept.count == wanted && !(static_cast<double>(pool.bounds[pool.heap[0]]) > least)) break;
        const double* rows[BLOCK];
        std::size_t indices[BLOCK];
        double exact[BLOCK];
        std::size_t width = 0;
        while (width < BLOCK && pool.heaped > 0) {
            const std::size_t i = pop(pool);
            const double* row = pool.points + i * pool.d;
            if (is_among(excluded, excluded_count, pool.d, row)) continue;
            indices[width] = i;
            rows[width++] = row;
        }
        if (width == 0) break;
        score(acquisition, rows, width, exact, least);
        pool.scored += width;
        for (std::size_t c = 0; c < width; ++c) enter(kept, acquisition, pool, indices[c], exact[c], apart);
    }
    return kept.count;
}

struct Choice {
    Acquisition acquisition;
    Pool pool;
};

inline Choice lay_out_choice(Arena& arena, const AcquisitionView& view, std::size_t m) {
    const Acquisition acquisition = lay_out_acquisition(arena, view);
    return {acquisition, lay_out_pool(arena, m, acquisition.d)};
}

inline std::size_t choice_memory(const AcquisitionView& view, std::size_t m) {
    Arena arena{nullptr, 0};
    lay_out_choice(arena, view, m);
    return arena.used;
}

// Indices and values of the best `wanted` rows of u (m, d), best first; returns how many have a finite value.
inline std::size_t best_of(const AcquisitionView& view, const double* u, std::size_t m, unsigned char* memory, std::size_t wanted,
                           std::size_t* chosen, double* values, std::size_t* scored) {
    Arena arena{memory, 0};
    Choice choice = lay_out_choice(arena, view, m);
    prepare(choice.acquisition);
    *scored = 0;
    if (!choice.acquisition.finite || wanted == 0) return 0;
    for (std::size_t i = 0; i < m * choice.pool.d; ++i) choice.pool.points[i] = u[i];
    rank(choice.acquisition, choice.pool);
    const std::size_t count = select(choice.acquisition, choice.pool, wanted, 0.0, nullptr, 0, chosen, values);
    *scored = choice.pool.scored;
    return count;
}

}  // namespace jaxhp::JAXHP_ISA
