// Where better points are dense and worse ones are not: the search of tree-structured Parzen estimators.
//
// Candidates are drawn from the densities of better points and ranked by the sum over outcomes of
//   log r = -log(share + (1 - share) worse / better),
// which for one outcome orders them as better / worse does (Bergstra et al. 2011); the sum is c-TPE's acquisition (Watanabe &
// Hutter, IJCAI 2023, equation 7). A candidate takes all its coordinates from one row's kernels, so it keeps what they have in common.
#pragma once

#include "draws.hpp"
#include "parzen.hpp"

namespace jaxhp::JAXHP_ISA {

constexpr int TRIES = 64;  // normal draws for one truncated one; with a deviation of at most 1, 0.34 or more fall inside

struct Ratio {
    Parzen better;
    Parzen worse;
};

struct Proposal {
    Ratio* ratios;
    double* terms;        // (most padded,)
    double* drawn;        // (candidates, d) with numbers where inactive, too
    double* points;       // (candidates, d)
    double* scores;       // (candidates,)
    std::size_t* order;   // (candidates,)
};

inline Proposal proposal_layout(Arena& arena, const ProposalView& view) {
    Proposal proposal{};
    proposal.ratios = take<Ratio>(arena, view.ratio_count);
    std::size_t most = 0;
    for (std::size_t r = 0; r < view.ratio_count; ++r) {
        const Ratio ratio{parzen_layout(arena, view.dims, view.ratios[r].better.n),
                          parzen_layout(arena, view.dims, view.ratios[r].worse.n)};
        most = ratio.better.padded > most ? ratio.better.padded : most;
        most = ratio.worse.padded > most ? ratio.worse.padded : most;
        if (arena.base != nullptr) proposal.ratios[r] = ratio;
    }
    proposal.terms = take<double>(arena, most);
    proposal.drawn = take<double>(arena, view.candidates * view.dims.d);
    proposal.points = take<double>(arena, view.candidates * view.dims.d);
    proposal.scores = take<double>(arena, view.candidates);
    proposal.order = take<std::size_t>(arena, view.candidates);
    return proposal;
}

inline std::size_t proposal_memory(const ProposalView& view) {
    Arena arena{nullptr, 0};
    proposal_layout(arena, view);
    return arena.used;
}

inline double log_ratio(double share, double better, double worse) {
    const double difference = worse - better;  // a large one decides alone, and would overflow
    if (share == 0.0 || difference > 500.0) return -std::log1p(-share) - difference;
    return -std::log(share + (1.0 - share) * std::exp(difference));
}

// A row by its weight; n is the prior.
inline std::size_t drawn_row(const ParzenView& view, Stream& s) {
    double total = view.prior;
    for (std::size_t i = 0; i < view.n; ++i) total += view.weights[i];
    double left = next_uniform(s) * total;
    for (std::size_t i = 0; i < view.n; ++i) {
        left -= view.weights[i];
        if (left < 0.0) return i;
    }
    return view.n;
}

// A number from the kernel of row i in dim j, to be snapped; uniform where the row has none.
inline double drawn_value(const Parzen& parzen, std::size_t i, std::size_t j, Stream& s) {
    const DimsView& dims = parzen.dims;
    const double u = parzen.u[j * parzen.padded + i];
    const double scale = parzen.scale[j * parzen.padded + i];
    if (scale == 0.0) return next_uniform(s);
    if (dims.kind[j] == CATEGORICAL) {
        const double uniform = next_uniform(s);
        if (i >= parzen.n) return uniform;
        if (next_uniform(s) >= parzen.bandwidth[j] || dims.levels[j] < 2.0) return u;
        const double level = clamped(whole(uniform * (dims.levels[j] - 1.0)), 0.0, dims.levels[j] - 2.0);
        return centre_of(dims, j, level + (level >= level_at(dims, j, u) ? 1.0 : 0.0));
    }
    const double h = SQRT_HALF / scale;
    for (int t = 0; t < TRIES; ++t) {
        const double x = u + h * next_normal(s);
        if (x >= 0.0 && x <= 1.0) return x;
    }
    return u;
}

inline void propose(const ProposalView& view, unsigned char* memory, double* out, double* scores) {
    const DimsView& dims = view.dims;
    const std::size_t d = dims.d;
    Arena arena{memory, 0};
    const Proposal proposal = proposal_layout(arena, view);
    for (std::size_t r = 0; r < view.ratio_count; ++r) {
        fill(proposal.ratios[r].better, view.ratios[r].better);
        fill(proposal.ratios[r].worse, view.ratios[r].worse);
    }
    Stream s = stream(view.draw, PROPOSAL);
    for (std::size_t c = 0; c < view.candidates; ++c) {
        const std::size_t from = c % view.ratio_count;
        const std::size_t row = drawn_row(view.ratios[from].better, s);
        for (std::size_t j = 0; j < d; ++j) proposal.drawn[c * d + j] = drawn_value(proposal.ratios[from].better, row, j, s);
    }
    snap(dims, proposal.drawn, view.candidates, proposal.points);
    for (std::size_t c = 0; c < view.candidates; ++c) {
        const double* x = proposal.points + c * d;
        double score = 0;
        for (std::size_t r = 0; r < view.ratio_count; ++r) {
            const double better = log_density_at(proposal.ratios[r].better, x, proposal.terms);
            const double worse = log_density_at(proposal.ratios[r].worse, x, proposal.terms);
            score += log_ratio(view.ratios[r].share, better, worse);
        }
        proposal.scores[c] = score;
        std::size_t at = c;  // insertion into the order
        for (; at > 0 && proposal.scores[proposal.order[at - 1]] < score; --at) proposal.order[at] = proposal.order[at - 1];
        proposal.order[at] = c;
    }
    for (std::size_t c = 0; c < view.candidates; ++c) {
        const std::size_t from = proposal.order[c];
        for (std::size_t j = 0; j < d; ++j) out[c * d + j] = proposal.points[from * d + j];
        scores[c] = proposal.scores[from];
    }
}

}  // namespace jaxhp::JAXHP_ISA
