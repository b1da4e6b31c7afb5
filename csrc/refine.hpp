// Climbs an acquisition from several points at once: projected L-BFGS in the unit cube.
//
// Variables are u_j / min(l_j, 1), so that a unit step is a length scale. Direction: the two-loop recursion over the
// coordinates that are not held by a bound (Nocedal & Wright, Numerical Optimization, 2006, algorithm 7.4; Bertsekas, SIAM J.
// Control Optim. 20, 1982, for the projection); step: Armijo along the projected path with quadratic interpolation. Every
// round evaluates one trial of each climber, sharing a pass over Linv; after rounds CUTS the worse half is dropped.
#pragma once

#include "acquisition.hpp"
#include "candidates.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr std::size_t MEMORY = 6;
constexpr std::size_t CUTS[] = {4, 8};
constexpr double RELAXED_LEVELS = 32.0;  // an ordered axis with so many levels is climbed as if continuous
constexpr double FIRST_STEP = 0.2;       // in length scales, the largest coordinate
constexpr double LONGEST_STEP = 2.0;
constexpr double STALLED = 1e-5;         // a gain too small to go on for
constexpr double SHORTEST_STEP = 1e-7;
constexpr double SUFFICIENT = 1e-4;      // Armijo

// f = -acquisition; gradients, directions and pairs are in scaled variables.
struct Climber {
    Probe probe;
    double* raw;        // (d,) the best point so far
    double* trial;      // (d,) canonical but for relaxed coordinates
    double* gradient;   // (d,)
    double* direction;  // (d,)
    double* s;          // (MEMORY, d)
    double* y;          // (MEMORY, d)
    std::uint8_t* movable;
    double rho[MEMORY];
    std::size_t pairs;
    double f;
    double step;
    bool started;
    bool done;
};

inline Climber lay_out_climber(Arena& arena, const AcquisitionView& view, std::size_t d) {
    Climber climber{};
    climber.probe = lay_out_probe(arena, view);
    climber.raw = take<double>(arena, d);
    climber.trial = take<double>(arena, d);
    climber.gradient = take<double>(arena, d);
    climber.direction = take<double>(arena, d);
    climber.s = take<double>(arena, MEMORY * d);
    climber.y = take<double>(arena, MEMORY * d);
    climber.movable = take<std::uint8_t>(arena, d);
    return climber;
}

inline bool is_parent(const DimsView& dims, std::size_t j) {
    for (std::size_t child = j + 1; child < dims.d; ++child)
        if (dims.parent[child] == static_cast<std::int32_t>(j)) return true;
    return false;
}

inline bool is_climbed(const DimsView& dims, std::size_t j) {
    if (dims.kind[j] <= FLOAT_LOG) return true;
    return dims.kind[j] != CATEGORICAL && dims.levels[j] >= RELAXED_LEVELS && !is_parent(dims, j);
}

// Returns whether anything can move.
inline bool place(Climber& climber, const Space& space, const std::uint8_t* climbed, const double* raw) {
    canonical(space, raw, climber.trial);
    bool any = false;
    for (std::size_t j = 0; j < space.dims.d; ++j) {
        climber.raw[j] = raw[j];
        climber.movable[j] = climbed[j] != 0 && climber.trial[j] == climber.trial[j] ? 1 : 0;
        if (climber.movable[j] != 0) climber.trial[j] = raw[j];
        any = any || climber.movable[j] != 0;
    }
    climber.pairs = 0;
    climber.f = __builtin_inf();
    climber.step = 0.0;
    climber.started = false;
    climber.done = false;
    return any;
}

inline double dot(const double* a, const double* b, std::size_t d) {
    double total = 0;
    for (std::size_t j = 0; j < d; ++j) total += a[j] * b[j];
    return total;
}

// Fixed, or at a bound that the descent would leave the cube through.
inline bool held(const Climber& c, std::size_t j) {
    return c.movable[j] == 0 || (c.raw[j] <= 0.0 && c.gradient[j] > 0) || (c.raw[j] >= 1.0 && c.gradient[j] < 0);
}

inline double largest_of(const double* v, std::size_t d) {
    double largest = 0;
    for (std::size_t j = 0; j < d; ++j) {
        const double size = v[j] < 0 ? -v[j] : v[j];
        largest = size > largest ? size : largest;
    }
    return largest;
}

// Sets the direction and the first trial step; done where no coordinate can go down.
inline void aim(Climber& c, std::size_t d) {
    for (std::size_t j = 0; j < d; ++j) c.direction[j] = held(c, j) ? 0.0 : -c.gradient[j];
    const std::size_t kept = c.pairs < MEMORY ? c.pairs : MEMORY;
    double a[MEMORY];
    for (std::size_t back = 0; back < kept; ++back) {
        const std::size_t i = (c.pairs - 1 - back) % MEMORY;
        a[i] = c.rho[i] * dot(c.s + i * d, c.direction, d);
        for (std::size_t j = 0; j < d; ++j) c.direction[j] -= a[i] * c.y[i * d + j];
    }
    if (kept > 0) {
        const std::size_t last = (c.pairs - 1) % MEMORY;
        const double factor = 1.0 / (c.rho[last] * dot(c.y + last * d, c.y + last * d, d));
        for (std::size_t j = 0; j < d; ++j) c.direction[j] *= factor;
    }
    for (std::size_t forth = kept; forth > 0; --forth) {
        const std::size_t i = (c.pairs - forth) % MEMORY;
        const double b = c.rho[i] * dot(c.y + i * d, c.direction, d);
        for (std::size_t j = 0; j < d; ++j) c.direction[j] += (a[i] - b) * c.s[i * d + j];
    }
    for (std::size_t j = 0; j < d; ++j)
        if (held(c, j)) c.direction[j] = 0.0;
    const bool downhill = kept > 0 && dot(c.direction, c.gradient, d) < 0;
    if (!downhill)
        for (std::size_t j = 0; j < d; ++j) c.direction[j] = held(c, j) ? 0.0 : -c.gradient[j];
    const double largest = largest_of(c.direction, d);
    const double longest = downhill ? LONGEST_STEP : FIRST_STEP;
    c.step = downhill && largest <= longest ? 1.0 : longest / largest;
    if (!(largest > 0) || !is_finite(c.step)) c.done = true;
}

inline void set_trial(Climber& c, const double* scale, std::size_t d) {
    for (std::size_t j = 0; j < d; ++j)
        if (c.movable[j] != 0) c.trial[j] = clamped(c.raw[j] + c.step * scale[j] * c.direction[j], 0.0, 1.0);
}

// Digests f and its scaled gradient at the trial point.
inline void advance(Climber& c, const double* scale, double f, const double* gradient, std::size_t d) {
    const bool finite = is_finite(f) && is_finite(dot(gradient, gradient, d));
    if (!c.started) {
        c.started = true;
        if (!finite) {
            c.done = true;
            return;
        }
        c.f = f;
        for (std::size_t j = 0; j < d; ++j) c.gradient[j] = gradient[j];
        aim(c, d);
    } else {
        double predicted = 0;
        double moved = 0;
        for (std::size_t j = 0; j < d; ++j) {
            if (c.movable[j] == 0) continue;
            const double by = (c.trial[j] - c.raw[j]) / scale[j];
            predicted += by * c.gradient[j];
            moved = by > moved ? by : -by > moved ? -by : moved;
        }
        if (finite && f <= c.f + SUFFICIENT * predicted && predicted < 0) {
            const std::size_t i = c.pairs % MEMORY;
            double* s = c.s + i * d;
            double* y = c.y + i * d;
            for (std::size_t j = 0; j < d; ++j) {
                s[j] = c.movable[j] != 0 ? (c.trial[j] - c.raw[j]) / scale[j] : 0.0;
                y[j] = c.movable[j] != 0 ? gradient[j] - c.gradient[j] : 0.0;
            }
            const double curvature = dot(s, y, d);
            if (curvature > 1e-10 * dot(y, y, d)) {
                c.rho[i] = 1.0 / curvature;
                ++c.pairs;
            }
            const double gain = c.f - f;
            c.f = f;
            for (std::size_t j = 0; j < d; ++j) {
                c.gradient[j] = gradient[j];
                if (c.movable[j] != 0) c.raw[j] = c.trial[j];
            }
            if (gain < STALLED) {
                c.done = true;
            } else {
                aim(c, d);
            }
        } else {
            double shrink = 0.1;
            if (finite && predicted < 0) shrink = clamped(-0.5 * predicted / (f - c.f - predicted), 0.1, 0.5);
            c.step *= shrink;
            if (!(moved * shrink > SHORTEST_STEP)) c.done = true;
        }
    }
    if (!c.done) set_trial(c, scale, d);
}

// Climbs in rounds; returns how many values with gradients it took. `gradients` has room for (count, d).
inline std::size_t climb(const Acquisition& acquisition, Climber* climbers, std::size_t count, std::size_t rounds,
                         const double* scale, double* gradients) {
    const std::size_t d = acquisition.d;
    std::size_t evaluated = 0;
    for (std::size_t round = 0; round < rounds; ++round) {
        const double* u[MOST_STARTS];
        Probe* probes[MOST_STARTS];
        Climber* active[MOST_STARTS];
        double values[MOST_STARTS];
        std::size_t running = 0;
        for (std::size_t s = 0; s < count; ++s) {
            if (climbers[s].done) continue;
            active[running] = &climbers[s];
            u[running] = climbers[s].trial;
            probes[running++] = &climbers[s].probe;
        }
        if (running == 0) break;
        value_and_gradient(acquisition, u, probes, running, values, gradients);
        evaluated += running;
        for (std::size_t s = 0; s < running; ++s) {
            double* gradient = gradients + s * d;
            for (std::size_t j = 0; j < d; ++j) gradient[j] *= active[s]->movable[j] != 0 ? -scale[j] : 0.0;
            advance(*active[s], scale, -values[s], gradient, d);
        }
        if (round + 1 != CUTS[0] && round + 1 != CUTS[1]) continue;
        for (std::size_t s = 0; s < running; ++s) {
            std::size_t better = 0;
            for (std::size_t other = 0; other < running; ++other)
                if (active[other]->f < active[s]->f || (active[other]->f == active[s]->f && other < s)) ++better;
            if (better >= (running + 1) / 2) active[s]->done = true;
        }
    }
    return evaluated;
}

}  // namespace jaxhp::JAXHP_ISA
