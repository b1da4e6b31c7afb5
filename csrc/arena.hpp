// Memory of one call, handed out in aligned pieces. Laid out twice: over nullptr to learn the size, then over the real block.
#pragma once

#include <cstddef>

namespace jaxhp::JAXHP_ISA {

constexpr std::size_t ALIGNMENT = 64;

struct Arena {
    unsigned char* base;
    std::size_t used;
};

template <class T>
inline T* take(Arena& arena, std::size_t count) {
    const std::size_t at = arena.used;
    arena.used = (at + count * sizeof(T) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return arena.base == nullptr ? nullptr : reinterpret_cast<T*>(arena.base + at);
}

}  // namespace jaxhp::JAXHP_ISA
