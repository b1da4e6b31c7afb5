// Finds a point of the space where an acquisition is large (GP_SEARCH.md steps 6 to 8).
//
//   1. candidates (candidates.hpp), bounded from above in float32 (`bound`, `term_bound`)
//   2. the exact values of the most promising, a block at a time, until the best `starts` of all are certain
//   3. those are climbed over their numeric coordinates (refine.hpp)
//   4. the best of them tries every other level of its discrete coordinates, one at a time, EXCHANGES times at most
//   5. a repetition of a known row is passed over where it is not wanted
// The value returned is float64, of the canonical point. Equal arguments give equal bits on one instruction set.
#pragma once

#include "refine.hpp"
#include "select.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr std::size_t EXCHANGES = 3;
constexpr std::size_t CLIMB_AFTER_EXCHANGE = 10;  // rounds
constexpr double FEW_LEVELS = 16.0;               // an ordered axis with more tries near and some far levels only
constexpr std::size_t FAR_LEVELS = 5;
constexpr double BETTER = 1e-9;
constexpr double APART = 1.0;                     // squared `separation` of starts: 0.45 length scales

struct Search {
    Space space;
    const SearchView* view;
    Acquisition acquisition;
    double* raw;              // (candidates, d)
    Pool pool;                // the candidates
    std::size_t spread;       // the first of them are spread points
    bool enumerated;
    Climber* climbers;        // (starts,)
    Climber spare;
    std::uint8_t* climbed;    // (d,) numbers and relaxed axes
    std::uint8_t* numbers;    // (d,)
    bool climbs;
    bool relaxes;
    double* scale;            // (d,) min(l, 1)
    double* gradients;        // (starts, d)
    double* neighbours;       // (BLOCK, d) raw
    double* neighbour_points; // (BLOCK, d)
    double* best;             // (d,) raw
    double* point;            // (d,)
    double* repeated;         // (d,)
    Found found;
};

inline Search lay_out_search(Arena& arena, const AcquisitionView& acquisition, const SearchView& view) {
    Search search{};
    const std::size_t d = view.dims.d;
    search.view = &view;
    search.space = space_of(view.dims);
    search.acquisition = lay_out_acquisition(arena, acquisition);
    const std::size_t wanted = view.spread + (view.centre_count > 0 ? view.local : 0);
    const std::size_t all = finite_size(view.dims, wanted);
    search.enumerated = all > 0;
    search.spread = search.enumerated ? all : view.spread;
    search.pool = lay_out_pool(arena, (search.enumerated ? all : wanted) + view.extra_count, d);
    search.raw = take<double>(arena, search.pool.count * d);
    search.climbers = take<Climber>(arena, view.starts);
    for (std::size_t s = 0; s < view.starts; ++s) {
        const Climber climber = lay_out_climber(arena, acquisition, d);
        if (arena.base != nullptr) search.climbers[s] = climber;
    }
    search.spare = lay_out_climber(arena, acquisition, d);
    search.climbed = take<std::uint8_t>(arena, d);
    search.numbers = take<std::uint8_t>(arena, d);
    search.scale = take<double>(arena, d);
    search.gradients = take<double>(arena, view.starts * d);
    search.neighbours = take<double>(arena, BLOCK * d);
    search.neighbour_points = take<double>(arena, BLOCK * d);
    search.best = take<double>(arena, d);
    search.point = take<double>(arena, d);
    search.repeated = take<double>(arena, d);
    return search;
}

inline void copy_row(const double* from, std::size_t d, double* to) {
    for (std::size_t j = 0; j < d; ++j) to[j] = from[j];
}

inline void propose(Search& search, const DrawName& name) {
    const SearchView& view = *search.view;
    const std::size_t d = view.dims.d;
    if (search.enumerated) {
        for (std::size_t i = 0; i < search.spread; ++i) enumerated(view.dims, i, search.raw + i * d);
    } else {
        Stream shift = stream(name, SHIFT);
        spread_points(view.spread, d, shift, search.raw);
        Stream local = stream(name, LOCAL);
        std::uint64_t state = next_word(local);
        const std::size_t moved = search.pool.count - view.extra_count - view.spread;
        for (std::size_t i = 0; i < moved; ++i) {
            const double* centre = view.centres + i % view.centre_count * d;
            perturb(view.dims, centre, i / view.centre_count % SPREAD_COUNT, state, search.raw + (view.spread + i) * d);
        }
    }
    Stream fill = stream(name, FILL);
    const std::size_t given = search.pool.count - view.extra_count;
    for (std::size_t i = 0; i < view.extra_count; ++i) {
        for (std::size_t j = 0; j < d; ++j) {
            const double value = view.extra[i * d + j];
            search.raw[(given + i) * d + j] = value == value ? clamped(value, 0.0, 1.0) : next_uniform(fill);
        }
    }
    for (std::size_t i = 0; i < search.pool.count; ++i) canonical(search.space, search.raw + i * d, search.pool.points + i * d);
}

inline bool repeats(const Search& search, const double* point) {
    return is_among(search.view->existing, search.view->existing_count, search.acquisition.d, point);
}

// The exact value of the canonical point of `raw`, which is left in `point`.
inline double settle(Search& search, const double* raw, double* point) {
    canonical(search.space, raw, point);
    Probe* const probe = &search.spare.probe;
    double value = 0;
    value_and_gradient(search.acquisition, &point, &probe, 1, &value, search.gradients);
    return is_finite(value) ? value : -__builtin_inf();
}

// Level number `which` to try instead of `level`; false when there are no more, `skip` where it is none.
inline bool other_level(const DimsView& dims, std::size_t j, double level, std::size_t which, double& other, bool& skip) {
    const double levels = dims.levels[j];
    if (dims.kind[j] == CATEGORICAL || levels <= FEW_LEVELS) {
        other = static_cast<double>(which);
        skip = other == level;
        return other < levels;
    }
    std::size_t pairs = 0;  // level +- 1, 2, 4, ...
    for (double distance = 1; distance < levels; distance *= 2) ++pairs;
    if (which < 2 * pairs) {
        const double distance = static_cast<double>(std::uint64_t{1} << (which / 2));
        other = which % 2 == 0 ? level + distance : level - distance;
    } else {
        other = whole(static_cast<double>(which - 2 * pairs) / static_cast<double>(FAR_LEVELS - 1) * (levels - 1.0));
    }
    skip = other < 0 || other >= levels || other == level;
    return which < 2 * pairs + FAR_LEVELS;
}

// One better neighbour of `best`: the best of all points that differ in one discrete coordinate. Returns its value.
inline double exchange(Search& search, double value, bool& changed) {
    const DimsView& dims = search.view->dims;
    const std::size_t d = dims.d;
    const bool skip_repeats = !search.climbs && !search.view->allow_duplicates;
    const double* rows[BLOCK];
    double exact[BLOCK];
    std::size_t width = 0;
    changed = false;
    double* const winner = search.repeated;
    const auto flush = [&] {
        score(search.acquisition, rows, width, exact);
        search.found.scored += width;
        for (std::size_t c = 0; c < width; ++c) {
            if (!(exact[c] > value + BETTER) || (skip_repeats && repeats(search, rows[c]))) continue;
            value = exact[c];
            copy_row(search.neighbours + c * d, d, winner);
            changed = true;
        }
        width = 0;
    };
    for (std::size_t j = 0; j < d; ++j) {
        if (dims.kind[j] <= FLOAT_LOG || search.point[j] != search.point[j]) continue;
        const double level = level_at(dims, j, search.point[j]);
        double other = 0;
        bool skip = false;
        for (std::size_t which = 0; other_level(dims, j, level, which, other, skip); ++which) {
            if (skip) continue;
            double* raw = search.neighbours + width * d;
            double* point = search.neighbour_points + width * d;
            copy_row(search.best, d, raw);
            raw[j] = centre_of(dims, j, other);
            canonical(search.space, raw, point);
            rows[width++] = point;
            if (width == BLOCK) flush();
        }
    }
    if (width > 0) flush();
    if (changed) {
        copy_row(winner, d, search.best);
        canonical(search.space, search.best, search.point);
    }
    return value;
}

// Steps 3 and 4 from the chosen candidates; `best`, `point` and the value.
inline double improve(Search& search, const std::size_t* chosen, const double* values, std::size_t count) {
    const std::size_t d = search.acquisition.d;
    double value = values[0];
    copy_row(search.raw + chosen[0] * d, d, search.best);
    copy_row(search.pool.points + chosen[0] * d, d, search.point);
    const auto keep_if_better = [&](const Climber& climber) {
        if (!climber.started) return;
        double reached = -climber.f;
        if (search.relaxes) {
            reached = settle(search, climber.raw, search.repeated);
        } else {
            canonical(search.space, climber.raw, search.repeated);
        }
        if (!(reached > value)) return;
        value = reached;
        copy_row(climber.raw, d, search.best);
        copy_row(search.repeated, d, search.point);
    };
    for (std::size_t s = 0; s < count; ++s) {
        const bool moves = place(search.climbers[s], search.space, search.climbed, search.raw + chosen[s] * d);
        search.climbers[s].done = !moves;
    }
    search.found.evaluated += climb(search.acquisition, search.climbers, count, search.view->iterations, search.scale, search.gradients);
    for (std::size_t s = 0; s < count; ++s)
        keep_if_better(search.climbers[s]);
    if (search.space.plain) return value;
    const std::size_t rounds = search.view->iterations < CLIMB_AFTER_EXCHANGE ? search.view->iterations : CLIMB_AFTER_EXCHANGE;
    bool changed = search.relaxes;  // the numbers are to follow the levels that relaxed axes were snapped to
    for (std::size_t round = 0; round <= EXCHANGES; ++round) {
        if (changed && place(search.spare, search.space, search.numbers, search.best)) {
            search.found.evaluated += climb(search.acquisition, &search.spare, 1, rounds, search.scale, search.gradients);
            keep_if_better(search.spare);
        }
        if (round == EXCHANGES) break;
        value = exchange(search, value, changed);
        if (!changed) break;
    }
    return value;
}

// Replaces a repetition: another climber's end, another start, any other candidate; `point` and its value.
inline double replace(Search& search, const std::size_t* chosen, std::size_t count, double value) {
    const std::size_t d = search.acquisition.d;
    const double repeated_value = value;
    copy_row(search.point, d, search.repeated);
    double best = -__builtin_inf();
    const auto offer = [&](const double* raw, std::int32_t how) {
        double* candidate = search.neighbour_points;
        const double reached = settle(search, raw, candidate);
        if (!(reached > best) || repeats(search, candidate)) return;
        best = reached;
        copy_row(candidate, d, search.point);
        search.found.how = how;
    };
    for (std::size_t s = 0; s < count; ++s) {
        if (search.climbers[s].started) offer(search.climbers[s].raw, RUNNER_UP);
        offer(search.raw + chosen[s] * d, RUNNER_UP);
    }
    if (best > -__builtin_inf()) return best;
    while (search.pool.heaped > 0) {
        const std::size_t i = pop(search.pool);
        offer(search.raw + i * d, i < search.spread ? SPREAD : PERTURBED);
        if (best > -__builtin_inf()) return best;
    }
    copy_row(search.repeated, d, search.point);
    search.found.how = REPEATED;
    return repeated_value;
}

// A new spread point where the model is of no use.
inline Found without_model(Search& search, double* out) {
    const std::size_t d = search.acquisition.d;
    search.found.how = NOT_FINITE;
    search.found.value = __builtin_nan("");
    if (search.pool.count == 0) {
        for (std::size_t j = 0; j < d; ++j) search.best[j] = 0.5;
        canonical(search.space, search.best, out);
        return search.found;
    }
    std::size_t i = 0;
    while (i + 1 < search.pool.count && !search.view->allow_duplicates && repeats(search, search.pool.points + i * d)) ++i;
    copy_row(search.pool.points + i * d, d, out);
    return search.found;
}

inline std::size_t search_memory(const AcquisitionView& acquisition, const SearchView& view) {
    Arena arena{nullptr, 0};
    lay_out_search(arena, acquisition, view);
    return arena.used;
}

// `memory`: search_memory(...) bytes, aligned; out (d,) canonical. 1 <= starts <= MOST_STARTS.
inline Found maximize(const AcquisitionView& acquisition, const SearchView& view, unsigned char* memory, double* out) {
    Arena arena{memory, 0};
    Search search = lay_out_search(arena, acquisition, view);
    const std::size_t d = view.dims.d;
    propose(search, acquisition.draw);
    prepare(search.acquisition);
    if (!search.acquisition.finite) return without_model(search, out);
    search.climbs = false;
    for (std::size_t j = 0; j < d; ++j) {
        const double length = acquisition.posteriors[0].theta[j];
        search.scale[j] = length < 1.0 ? length : 1.0;
        search.climbed[j] = is_climbed(view.dims, j) ? 1 : 0;
        search.numbers[j] = view.dims.kind[j] <= FLOAT_LOG ? 1 : 0;
        search.climbs = search.climbs || search.climbed[j] != 0;
        search.relaxes = search.relaxes || search.climbed[j] != search.numbers[j];
    }
    rank(search.acquisition, search.pool);
    const double apart = search.climbs ? APART : 0.0;
    std::size_t chosen[MOST_STARTS];
    double values[MOST_STARTS];
    const std::size_t excluded = search.climbs || view.allow_duplicates ? 0 : view.existing_count;
    const std::size_t count = select(search.acquisition, search.pool, view.starts, apart, view.existing, excluded, chosen, values);
    search.found.scored = search.pool.scored;
    if (count == 0) {
        // every candidate repeats a row, or no value is finite
        if (search.found.scored > 0 || search.pool.count == 0) return without_model(search, out);
        copy_row(search.pool.points, d, out);
        search.found.how = REPEATED;
        search.found.value = settle(search, search.raw, search.point);
        if (!is_finite(search.found.value)) return without_model(search, out);
        return search.found;
    }
    search.found.value = improve(search, chosen, values, count);
    if (!view.allow_duplicates && repeats(search, search.point)) search.found.value = replace(search, chosen, count, search.found.value);
    copy_row(search.point, d, out);
    return search.found;
}

}  // namespace jaxhp::JAXHP_ISA
