// Memory of one call for the functions that work in memory of their caller's, aligned as they want it.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace jaxhp {

struct FreeAligned {
    void operator()(unsigned char* memory) const { ::operator delete[](memory, std::align_val_t{64}); }
};
using Memory = std::unique_ptr<unsigned char[], FreeAligned>;

inline Memory allocate(std::size_t bytes) {
    return Memory(static_cast<unsigned char*>(::operator new[](bytes, std::align_val_t{64})));
}

}  // namespace jaxhp
