// Acquisitions: a sum of terms, each a function of one posterior's mean, variance or drawn path; larger is better.
//
// Terms are logarithms where they are probabilities or expectations, so that they add: log EI + sum log P(feasible)
// - log cost. LOGEI: Ament et al., NeurIPS 2023; UCB: Srinivas et al., ICML 2010; LOGPI: Kushner 1964; PATH: Thompson 1933.
// A new term is a case in `term_value` and, where it depends on the variance, in `term_bound`.
#pragma once

#include "normal.hpp"
#include "pathwise.hpp"
#include "posterior.hpp"

namespace jaxhp::JAXHP_ISA {

// A term's value and its derivatives with respect to what it depends on.
struct TermValue {
    double value;
    double by_mean;
    double by_variance;
    double by_path;
};

inline TermValue term_value(const Term& term, double mean, double variance, double path) {
    const double deviation = std::sqrt(variance);
    switch (term.type) {
        case LOGEI: {
            const double z = (term.a - mean) / deviation;
            const Slope h = log_h(z);
            return {h.value + std::log(deviation), -h.derivative / deviation, 0.5 * (1.0 - h.derivative * z) / variance, 0.0};
        }
        case UCB: {
            const double factor = std::sqrt(term.a);
            return {factor * deviation - mean, -1.0, 0.5 * factor / deviation, 0.0};
        }
        case LOGPI: {
            const double z = (term.a - term.b - mean) / deviation;
            const Slope cdf = log_cdf(z);
            return {cdf.value, -cdf.derivative / deviation, -0.5 * cdf.derivative * z / variance, 0.0};
        }
        case MEAN: return {-term.a * mean, -term.a, 0.0, 0.0};
        default: return {-path, 0.0, 0.0, -1.0};
    }
}

// At least the term's value for the given mean, or one up to `error` beside it, and any variance up to `variance`.
inline Float term_bound(const Term& term, Float mean, Float variance, float error) {
    const float a = static_cast<float>(term.a);
    const Float deviation = sqrt(variance);
    switch (term.type) {
        case LOGEI: {
            const Float value = log_h((a - mean + error) / deviation) + log(deviation);
            return value + (1e-5f + 2e-6f * (value < 0.0f ? -value : value));
        }
        case UCB: return static_cast<float>(std::sqrt(term.a)) * deviation - mean + error;
        case LOGPI: {
            Float value;
            for (std::size_t i = 0; i < FLOATS; ++i) {
                const double gain = term.a - term.b - static_cast<double>(mean[i]) + static_cast<double>(error);
                value[i] = gain < 0 ? static_cast<float>(log_cdf(gain / static_cast<double>(deviation[i])).value) : 0.0f;
            }
            return value + (1e-5f - 2e-6f * value);
        }
        default: return a * -mean + error * (a < 0.0f ? -a : a);
    }
}

// An AcquisitionView ready to be evaluated.
struct Acquisition {
    const AcquisitionView* view;
    std::size_t d;
    Prepared* prepared;  // (posteriors,)
    Path* paths;         // (posteriors,) `frequency` null where no term wants one
    double* k;           // (padded of the largest, BLOCK)
    double* query;       // (d, BLOCK)
    double* weights;     // (padded of the largest,)
    Point* spare;        // (posteriors,)
    bool draws;
    bool finite;
};

inline bool wants_path(const AcquisitionView& view, std::size_t which) {
    for (std::size_t t = 0; t < view.term_count; ++t)
        if (view.terms[t].type == PATH && view.terms[t].posterior == which) return true;
    return false;
}

inline bool wants_moments(const AcquisitionView& view, std::size_t which) {
    for (std::size_t t = 0; t < view.term_count; ++t)
        if (view.terms[t].type != PATH && view.terms[t].posterior == which) return true;
    return false;
}

inline Acquisition lay_out_acquisition(Arena& arena, const AcquisitionView& view) {
    Acquisition acquisition{};
    acquisition.view = &view;
    acquisition.d = view.posteriors[0].d;
    acquisition.prepared = take<Prepared>(arena, view.posterior_count);
    acquisition.paths = take<Path>(arena, view.posterior_count);
    acquisition.spare = take<Point>(arena, view.posterior_count);
    std::size_t largest = 0;
    for (std::size_t p = 0; p < view.posterior_count; ++p) {
        const Prepared prepared = lay_out(arena, view.posteriors[p]);
        const Path path = wants_path(view, p) ? lay_out_path(arena, prepared) : Path{};
        const Point spare = lay_out_point(arena, prepared.d, prepared.padded);
        acquisition.draws = acquisition.draws || wants_path(view, p);
        if (prepared.padded > largest) largest = prepared.padded;
        if (arena.base == nullptr) continue;
        acquisition.prepared[p] = prepared;
        acquisition.paths[p] = path;
        acquisition.spare[p] = spare;
    }
    acquisition.k = take<double>(arena, largest * BLOCK);
    acquisition.query = take<double>(arena, acquisition.d * BLOCK);
    acquisition.weights = take<double>(arena, largest);
    return acquisition;
}

inline void prepare(Acquisition& acquisition) {
    const AcquisitionView& view = *acquisition.view;
    acquisition.finite = true;
    for (std::size_t p = 0; p < view.posterior_count; ++p) {
        prepare(acquisition.prepared[p], view.posteriors[p]);
        acquisition.finite = acquisition.finite && acquisition.prepared[p].finite;
        if (acquisition.paths[p].frequency != nullptr)
            draw_path(acquisition.prepared[p], view.posteriors[p], view.draw, p, acquisition.paths[p], acquisition.spare[p]);
    }
}

// prior(x) + update^T k, and the posterior's mean: the drawn function at the point of the last `evaluate_kernel`.
inline double path_value(const Prepared& p, Path& path, const Point& point) {
    double total = point.mean + prior_value(p, path, point.query);
    for (std::size_t i = 0; i < p.n; ++i) total += path.update[i] * point.k[i];
    return total;
}

// Whether, with the variances given so far, some of the first `count` points may exceed `threshold`.
inline bool promising(const Acquisition& acquisition, const double* mean, const double* variance, std::size_t count,
                      double threshold) {
    static_assert(BLOCK == FLOATS, "one Float holds a block");
    const AcquisitionView& view = *acquisition.view;
    Float means{};
    Float variances{};
    for (std::size_t c = 0; c < BLOCK; ++c) {
        means[c] = static_cast<float>(mean[c]);
        variances[c] = static_cast<float>(variance[c] * (1.0 + 1e-6));
    }
    const float error = static_cast<float>(acquisition.prepared[0].mean_error);
    Float total{};
    for (std::size_t t = 0; t < view.term_count; ++t) total += term_bound(view.terms[t], means, variances, error);
    for (std::size_t c = 0; c < count; ++c)
        if (!(static_cast<double>(total[c]) <= threshold)) return true;
    return false;
}

// values (count,) of the rows u (count, d), exactly; -inf where a term is not a number. All are -inf where none is above
// `threshold`, if half the rows of the only posterior show that: they cost a quarter.
inline void score(const Acquisition& acquisition, const double* const* u, std::size_t count, double* values,
                  double threshold = -__builtin_inf()) {
    const AcquisitionView& view = *acquisition.view;
    double mean[BLOCK] = {};
    double variance[BLOCK] = {};
    double path[BLOCK] = {};
    for (std::size_t c = 0; c < count; ++c) values[c] = 0.0;
    for (std::size_t p = 0; p < view.posterior_count; ++p) {
        const Prepared& prepared = acquisition.prepared[p];
        if (wants_moments(view, p)) {
            for (std::size_t a = 0; a < acquisition.d; ++a)
                for (std::size_t c = 0; c < BLOCK; ++c)
                    acquisition.query[a * BLOCK + c] = coordinate(prepared, a, u[c < count ? c : 0]);
            prior_moments(prepared, acquisition.query, acquisition.k, mean, variance);
            std::size_t explained = 0;
            if (threshold > -__builtin_inf() && view.posterior_count == 1 && !acquisition.draws) {
                explained = prepared.n / (2 * ROWS) * ROWS;
                explain(prepared, acquisition.k, 0, explained, variance);
                if (!promising(acquisition, mean, variance, count, threshold)) {
                    for (std::size_t c = 0; c < count; ++c) values[c] = -__builtin_inf();
                    return;
                }
            }
            explain(prepared, acquisition.k, explained, prepared.n, variance);
        }
        if (acquisition.paths[p].frequency != nullptr) {
            Point& point = acquisition.spare[p];
            for (std::size_t c = 0; c < count; ++c) {
                for (std::size_t a = 0; a < acquisition.d; ++a) point.query[a] = coordinate(prepared, a, u[c]);
                evaluate_kernel(prepared, point);
                path[c] = path_value(prepared, acquisition.paths[p], point);
            }
        }
        for (std::size_t t = 0; t < view.term_count; ++t)
            if (view.terms[t].posterior == p)
                for (std::size_t c = 0; c < count; ++c)
                    values[c] += term_value(view.terms[t], mean[c], variance[c], path[c]).value;
    }
    for (std::size_t c = 0; c < count; ++c)
        if (!is_finite(values[c])) values[c] = -__builtin_inf();
}

// A point under refinement: one `Point` per posterior.
struct Probe {
    Point* points;
};

inline Probe lay_out_probe(Arena& arena, const AcquisitionView& view) {
    Probe probe{take<Point>(arena, view.posterior_count)};
    for (std::size_t p = 0; p < view.posterior_count; ++p) {
        const Point point = lay_out_point(arena, view.posteriors[p].d, rounded_up(view.posteriors[p].n, ROUND));
        if (arena.base != nullptr) probe.points[p] = point;
    }
    return probe;
}

// values (count,) and gradients (count, d) at the rows u; the points share one pass over every Linv. count <= MOST_STARTS.
inline void value_and_gradient(const Acquisition& acquisition, const double* const* u, Probe* const* probes,
                               std::size_t count, double* values, double* gradients) {
    const AcquisitionView& view = *acquisition.view;
    const std::size_t d = acquisition.d;
    for (std::size_t s = 0; s < count; ++s) values[s] = 0.0;
    for (std::size_t i = 0; i < count * d; ++i) gradients[i] = 0.0;
    for (std::size_t p = 0; p < view.posterior_count; ++p) {
        const Prepared& prepared = acquisition.prepared[p];
        Path& path = acquisition.paths[p];
        Point* points[MOST_STARTS];
        for (std::size_t s = 0; s < count; ++s) {
            points[s] = &probes[s]->points[p];
            for (std::size_t a = 0; a < d; ++a) points[s]->query[a] = coordinate(prepared, a, u[s]);
        }
        evaluate(prepared, points, count);
        for (std::size_t s = 0; s < count; ++s) {
            const double drawn = path.frequency == nullptr ? 0.0 : path_value(prepared, path, *points[s]);
            TermValue total{};
            for (std::size_t t = 0; t < view.term_count; ++t) {
                if (view.terms[t].posterior != p) continue;
                const TermValue term = term_value(view.terms[t], points[s]->mean, points[s]->variance, drawn);
                total.value += term.value;
                total.by_mean += term.by_mean;
                total.by_variance += term.by_variance;
                total.by_path += term.by_path;
            }
            if (points[s]->variance <= SMALLEST_VARIANCE * prepared.s2) total.by_variance = 0.0;
            values[s] += total.value;
            add_gradient(prepared, *points[s], total.by_mean + total.by_path, total.by_variance, total.by_path, path.update,
                         acquisition.weights, gradients + s * d);
            if (path.frequency != nullptr) add_prior_gradient(prepared, path, total.by_path, gradients + s * d);
        }
    }
}

struct Ascent {
    Acquisition acquisition;
    Probe* probes;  // (MOST_STARTS,)
};

inline Ascent lay_out_ascent(Arena& arena, const AcquisitionView& view) {
    Ascent ascent{lay_out_acquisition(arena, view), take<Probe>(arena, MOST_STARTS)};
    for (std::size_t s = 0; s < MOST_STARTS; ++s) {
        const Probe probe = lay_out_probe(arena, view);
        if (arena.base != nullptr) ascent.probes[s] = probe;
    }
    return ascent;
}

inline std::size_t evaluate_memory(const AcquisitionView& view) {
    Arena arena{nullptr, 0};
    lay_out_ascent(arena, view);
    return arena.used;
}

// values (m,) and gradients (m, d) at the points u (m, d).
inline void evaluate_acquisition(const AcquisitionView& view, const double* u, std::size_t m, unsigned char* memory,
                                 double* values, double* gradients) {
    Arena arena{memory, 0};
    Ascent ascent = lay_out_ascent(arena, view);
    prepare(ascent.acquisition);
    for (std::size_t first = 0; first < m; first += MOST_STARTS) {
        const std::size_t width = m - first < MOST_STARTS ? m - first : MOST_STARTS;
        const double* rows[MOST_STARTS];
        Probe* probes[MOST_STARTS];
        for (std::size_t s = 0; s < width; ++s) {
            rows[s] = u + (first + s) * ascent.acquisition.d;
            probes[s] = &ascent.probes[s];
        }
        value_and_gradient(ascent.acquisition, rows, probes, width, values + first,
                           gradients + first * ascent.acquisition.d);
    }
}

}  // namespace jaxhp::JAXHP_ISA
