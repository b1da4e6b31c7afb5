#include "dims.hpp"

#include <cmath>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace jaxhp {

namespace {

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
    std::ostringstream sentence;
    sentence.precision(17);
    (sentence << ... << parts);
    throw std::invalid_argument(sentence.str());
}

const char* const NAMES[] = {"FLOAT", "FLOAT_LOG", "GRID", "GRID_LOG", "ORDINAL", "CATEGORICAL"};

}  // namespace

EncodedDims::EncodedDims(std::vector<std::int8_t> kind, std::vector<double> low, std::vector<double> high,
                         const std::vector<std::int64_t>& levels, std::vector<std::int32_t> parent,
                         std::vector<std::uint8_t> allowed)
    : kind_(std::move(kind)),
      low_(std::move(low)),
      high_(std::move(high)),
      parent_(std::move(parent)),
      allowed_(std::move(allowed)),
      allowed_columns_(0) {
    const std::size_t count = d();
    const auto check_length = [count](const char* name, std::size_t length) {
        if (length != count) refuse(name, ": expected one entry per dim (", count, " as in kind), got ", length);
    };
    check_length("low", low_.size());
    check_length("high", high_.size());
    check_length("levels", levels.size());
    check_length("parent", parent_.size());
    if (count > 0) {
        if (allowed_.empty() || allowed_.size() % count != 0)
            refuse("allowed: expected (", count, ", columns) with at least one column, got ", allowed_.size(), " entries");
        allowed_columns_ = allowed_.size() / count;
    }
    for (std::size_t j = 0; j < count; ++j) {
        if (levels[j] < 0 || levels[j] > MOST_LEVELS)
            refuse("levels[", j, "] = ", levels[j], ": expected 0 (continuous) to 2^50; use fewer levels or a float");
        levels_.push_back(static_cast<double>(levels[j]));
    }
    for (std::size_t j = 0; j < count; ++j) {
        check(j);
        const double half = kind_[j] == GRID_LOG ? 0.5 : 0.0;
        const bool logarithmic = kind_[j] == FLOAT_LOG || kind_[j] == GRID_LOG;
        start_.push_back(logarithmic ? std::log(low_[j] - half) : 0.0);
        span_.push_back(logarithmic ? std::log(high_[j] + half) - start_[j] : 0.0);
    }
}

void EncodedDims::check(std::size_t j) const {
    const std::int8_t kind = kind_[j];
    if (kind < FLOAT || kind > CATEGORICAL)
        refuse("kind[", j, "] = ", int{kind}, ": expected 0 to 5 (FLOAT, FLOAT_LOG, GRID, GRID_LOG, ORDINAL, CATEGORICAL)");
    const char* const name = NAMES[kind];
    if (!std::isfinite(low_[j]) || !std::isfinite(high_[j]) || !std::isfinite(high_[j] - low_[j]))
        refuse("low[", j, "] = ", low_[j], ", high[", j, "] = ", high_[j], ": bounds and their difference must be finite");
    if (kind <= FLOAT_LOG) {
        if (levels_[j] != 0) refuse("levels[", j, "] = ", levels_[j], ": a ", name, " dim is continuous; use 0");
        if (!(low_[j] < high_[j]))
            refuse("low[", j, "] = ", low_[j], " must be below high[", j, "] = ", high_[j], "; did you swap them?");
    } else if (levels_[j] < 1) {
        refuse("levels[", j, "] = ", levels_[j], ": a ", name, " dim needs at least one level");
    }
    if (kind == FLOAT_LOG && !(low_[j] > 0)) refuse("low[", j, "] = ", low_[j], ": a log axis needs low > 0");
    if (kind == GRID && low_[j] > high_[j])
        refuse("low[", j, "] = ", low_[j], " must not be above high[", j, "] = ", high_[j], "; did you swap them?");
    if (kind == GRID_LOG) {
        if (!(low_[j] >= 1) || low_[j] != std::floor(low_[j]) || high_[j] > LARGEST_LOG_INTEGER)
            refuse("low[", j, "] = ", low_[j], ", high[", j, "] = ", high_[j],
                   ": a GRID_LOG dim holds whole numbers from 1 to 2^44");
        if (levels_[j] != high_[j] - low_[j] + 1)
            refuse("levels[", j, "] = ", levels_[j], ": a GRID_LOG dim has high - low + 1 = ", high_[j] - low_[j] + 1);
    }
    if (parent_[j] < -1 || parent_[j] >= static_cast<std::int64_t>(j))
        refuse("parent[", j, "] = ", parent_[j], ": expected -1 (none) or an earlier dim; put parents before their children");
    if (parent_[j] >= 0) {
        const std::size_t parent = static_cast<std::size_t>(parent_[j]);
        if (kind_[parent] <= FLOAT_LOG || kind_[parent] == GRID_LOG)
            refuse("parent[", j, "] = ", parent, ": dim ", parent, " is ", NAMES[kind_[parent]],
                   "; a parent is GRID, ORDINAL or CATEGORICAL");
        if (levels_[parent] > static_cast<double>(allowed_columns_))
            refuse("allowed: ", allowed_columns_, " columns, but dim ", parent, ", the parent of dim ", j, ", has ",
                   levels_[parent], " levels");
    }
}

DimsView EncodedDims::view() const {
    return {d(),           allowed_columns_, kind_.data(),    low_.data(),   high_.data(),
            levels_.data(), parent_.data(),   allowed_.data(), start_.data(), span_.data()};
}

}  // namespace jaxhp
