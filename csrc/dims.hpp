// The encoded space, checked once and owned; kernels borrow its `view`.
#pragma once

#include <cstdint>
#include <vector>

#include "kernel.hpp"

namespace jaxhp {

// The integers of a GRID_LOG axis must survive exp(log(.)) in float64, and the levels of a grid (i + 0.5) / levels.
constexpr double LARGEST_LOG_INTEGER = 0x1p44;
constexpr std::int64_t MOST_LEVELS = std::int64_t{1} << 50;

class EncodedDims {
  public:
    // Columns of `Dims` (jaxhp/_types.py), each of length d, and allowed (d, columns) row-major. Throws
    // std::invalid_argument with a sentence that names the argument, the dim and the value.
    EncodedDims(std::vector<std::int8_t> kind, std::vector<double> low, std::vector<double> high,
                const std::vector<std::int64_t>& levels, std::vector<std::int32_t> parent,
                std::vector<std::uint8_t> allowed);

    std::size_t d() const { return kind_.size(); }
    DimsView view() const;

  private:
    void check(std::size_t j) const;

    std::vector<std::int8_t> kind_;
    std::vector<double> low_;
    std::vector<double> high_;
    std::vector<double> levels_;
    std::vector<std::int32_t> parent_;
    std::vector<std::uint8_t> allowed_;
    std::size_t allowed_columns_;
    std::vector<double> start_;
    std::vector<double> span_;
};

}  // namespace jaxhp
