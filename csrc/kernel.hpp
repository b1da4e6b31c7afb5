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

// One `Posterior` (jaxhp/_types.py), borrowed. Row i of Linv has zeros above its diagonal.
struct PosteriorView {
    std::size_t d;
    std::size_t n;
    std::size_t capacity;
    const double* X;          // (d, capacity)
    const double* Linv;       // (capacity, capacity)
    const double* alpha;      // (capacity,)
    const double* noise;      // (capacity,)
    const double* theta;      // (d + 2,)
    const std::int8_t* kind;  // (d,) 0 number, 1 category
    double mean;
};

// What an acquisition adds up, all to be maximised (acquisition.hpp): m, s mean and deviation of the term's posterior.
enum TermType : std::int32_t {
    LOGEI = 0,  // log E max(0, a - f), a the incumbent
    UCB = 1,    // -(m - sqrt(a) s)
    LOGPI = 2,  // log P(f <= a - b); with b = 0 a constraint's log P(feasible)
    MEAN = 3,   // -a m; a log cost
    PATH = 4,   // -(one draw of f): Thompson sampling
};
constexpr std::int32_t TERM_TYPES = 5;

struct Term {
    std::int32_t type;
    std::uint32_t posterior;
    double a;
    double b;
};

// The name of a random draw: Philox key (seed, purpose), counter (block, number, 0, what for).
struct DrawName {
    std::uint64_t seed;
    std::uint64_t purpose;
    std::uint64_t number;
};

// A sum of terms over posteriors of the same d.
struct AcquisitionView {
    const PosteriorView* posteriors;
    std::size_t posterior_count;
    const Term* terms;
    std::size_t term_count;
    DrawName draw;
};

// Where and how hard to look for an acquisition's maximum (maximize.hpp). Points are canonical rows of the space.
struct SearchView {
    DimsView dims;
    const double* centres;   // (centre_count, d) perturbed; the best first
    std::size_t centre_count;
    const double* existing;  // (existing_count, d) not to be repeated
    std::size_t existing_count;
    const double* extra;     // (extra_count, d) candidates of the caller's
    std::size_t extra_count;
    std::size_t spread;      // Sobol candidates
    std::size_t local;       // perturbations of the centres
    std::size_t starts;      // candidates that are refined
    std::size_t iterations;  // evaluations of value and gradient, of all starts at once
    bool allow_duplicates;
};

// How a suggestion came about.
enum How : std::int32_t {
    REFINED = 0,      // the best of the refined candidates
    RUNNER_UP = 1,    // the best repeats a row; the next one that does not
    PERTURBED = 2,    // all repeat rows: near the best
    SPREAD = 3,       // a Sobol point, because nothing nearer is new
    REPEATED = 4,     // a row again: no new point was found
    NOT_FINITE = 5,   // a Sobol point, because the posterior or the acquisition is not finite
};

struct Found {
    double value;  // of the acquisition at the point; NaN where NOT_FINITE
    std::int32_t how;
    std::size_t scored;     // candidates whose exact value was needed
    std::size_t evaluated;  // values with gradients
};

// A Parzen estimator over some rows of a table of points (parzen.hpp).
struct ParzenView {
    const double* u;             // (., d) canonical points: NaN where inactive
    const std::int64_t* rows;    // (n,) those that it stands on
    std::size_t n;
    const double* weights;       // (n,) above 0
    double prior;                // weight of the prior's kernel, above 0
    const double* bandwidth;     // (d,) in (0, 1]: a deviation; of a category, the probability of another one
};

// Densities of better and worse points for one outcome. log r = -log(share + (1 - share) worse / better) is added up.
struct RatioView {
    ParzenView better;
    ParzenView worse;
    double share;  // of the better points, in [0, 1)
};

// How to look for a point where the sum of log ratios is large (propose.hpp).
struct ProposalView {
    DimsView dims;
    const RatioView* ratios;
    std::size_t ratio_count;
    std::size_t candidates;  // draws from the densities of better points, in turn
    DrawName draw;
};

// The constants of CMA-ES: `Strategy` of jaxhp/samplers/_cma_update.py.
struct CmaConstants {
    std::size_t n;
    std::size_t popsize;
    std::size_t mu;         // at most popsize
    const double* weights;  // (popsize,)
    double mu_eff;
    double c_sigma;
    double d_sigma;
    double c_c;
    double c_1;
    double c_mu;
    double chi_n;
    bool separable;
};

// A distribution: `Search` of the same file.
struct CmaView {
    const double* mean;     // (n,)
    double sigma;
    const double* C;        // (n, n), or its diagonal (n,) in the separable variant
    const double* p_sigma;  // (n,)
    const double* p_c;      // (n,)
    const double* B;        // (n, n), none in the separable variant
    const double* D;        // (n,)
    double g;               // generations so far
};

// Where the next one goes, in the same shapes; B and D only where a decomposition is due, D always in the separable variant.
struct CmaResult {
    double* mean;
    double* sigma;
    double* C;
    double* p_sigma;
    double* p_c;
    double* B;
    double* D;
};

// What points are drawn from: n numbers of a normal distribution, and c categories, which share out the dims of a space.
struct CmaDrawView {
    std::size_t n;
    std::size_t c;
    const std::int64_t* numeric;      // (n,) dims
    const std::uint8_t* bounded;      // (n,) whether it is a float, between 0 and 1
    const std::int64_t* categorical;  // (c,) dims
    const std::int64_t* levels;       // (c,) at least 1, at most `width`
    const double* mean;               // (n,)
    double sigma;
    const double* B;  // (n, n), none where separable
    const double* D;  // (n,)
    bool separable;
    const double* A;            // (n,) stretches numbers that are not floats
    const double* q;            // (c, width) probabilities of levels
    std::size_t width;
    const std::int64_t* usual;  // (c,) levels of number 0
    std::uint64_t seed;
    std::uint64_t purpose;
};

constexpr std::size_t MOST_RATIOS = 64;
constexpr std::size_t MOST_POSTERIORS = 16;
constexpr std::size_t MOST_STARTS = 32;

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
    // log h, log Phi and their derivatives, (n,) each (normal.hpp).
    void (*log_h)(const double* z, std::size_t n, double* value, double* derivative);
    void (*log_cdf)(const double* z, std::size_t n, double* value, double* derivative);
    // The functions below work in `memory` of so many bytes, aligned to 64.
    std::size_t (*predict_memory)(const PosteriorView& view);
    std::size_t (*evaluate_memory)(const AcquisitionView& view);
    std::size_t (*search_memory)(const AcquisitionView& acquisition, const SearchView& view);
    std::size_t (*choice_memory)(const AcquisitionView& view, std::size_t m);
    void (*predict)(const PosteriorView& view, const double* u, std::size_t m, unsigned char* memory, double* mean,
                    double* variance);
    void (*evaluate)(const AcquisitionView& view, const double* u, std::size_t m, unsigned char* memory, double* values,
                     double* gradients);
    Found (*maximize)(const AcquisitionView& acquisition, const SearchView& view, unsigned char* memory, double* out);
    std::size_t (*best_of)(const AcquisitionView& view, const double* u, std::size_t m, unsigned char* memory,
                           std::size_t wanted, std::size_t* chosen, double* values, std::size_t* scored);
    std::size_t (*density_memory)(const DimsView& dims, const ParzenView& view);
    std::size_t (*proposal_memory)(const ProposalView& view);
    // (m,) log densities of canonical points u (m, d).
    void (*log_density)(const DimsView& dims, const ParzenView& view, const double* u, std::size_t m, unsigned char* memory,
                        double* out);
    // (candidates, d) canonical points, best first, and their scores.
    void (*propose)(const ProposalView& view, unsigned char* memory, double* out, double* scores);
    std::size_t (*cma_memory)(const CmaConstants& made);
    // The distribution after the points x (popsize, n), best first; foreign (popsize,) or nullptr. False: C is not finite.
    bool (*cma_update)(const CmaConstants& made, const CmaView& search, const double* x, const std::uint8_t* foreign, bool due,
                       unsigned char* memory, const CmaResult& after);
    // B (n, n) and D (n,) of C (n, n), whose lower triangle counts. False: it is not finite.
    bool (*cma_decompose)(const CmaConstants& made, const double* C, unsigned char* memory, double* B, double* D);
    // v (k, n + c) in the space, x (k, n), levels chosen (k, c), and the attempt at which each was drawn (cma.hpp).
    void (*cma_draw)(const CmaDrawView& view, const std::int64_t* numbers, std::size_t k, double* scratch, double* v, double* x,
                     std::int64_t* chosen, std::int64_t* attempts);
};

}  // namespace jaxhp
