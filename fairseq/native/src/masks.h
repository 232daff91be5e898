// Dropout's masks: a function of the seed and an element's index, so that they can be computed again from the seed.
//
//     element i takes bits 16 (i mod 4) .. of mix(seed + floor(i / 4) * golden),  mix: SplitMix64's finalizer
//
// and is kept where they, as a signed number, are at least a threshold. The same formula in torch's operations stands in
// modules/dropout.py.

#pragma once

#include <cstdint>
#include <cstring>

namespace {

// Bits of elements 4 first .. 4 (first + groups) - 1. Written so that compilers vectorize it.
inline void draw(uint64_t seed, uint64_t first, int64_t groups, int16_t* uniform) {
    constexpr int64_t kPiece = 64;
    uint64_t bits[kPiece];
    for (int64_t start = 0; start < groups; start += kPiece) {
        const int64_t count = groups - start < kPiece ? groups - start : kPiece;
        for (int64_t i = 0; i < count; ++i) {
            uint64_t state = seed + (first + uint64_t(start + i)) * 0x9E3779B97F4A7C15u;
            state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
            state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
            bits[i] = state ^ (state >> 31);
        }
        std::memcpy(uniform + 4 * start, bits, size_t(8 * count));
    }
}

}  // namespace
