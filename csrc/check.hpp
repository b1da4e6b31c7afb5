// Checks for the plain C++ tests. They cannot be compiled out, unlike assert.
#pragma once

#include <cstdio>
#include <cstdlib>

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            std::fprintf(stderr, "%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #condition);   \
            std::exit(1);                                                                 \
        }                                                                                 \
    } while (false)
