// Dropout in one pass: y = x * noise where the element's 16 bits of a hash are at least a threshold, else x * 0.
//
//     element i takes bits 16 (i mod 4) .. of mix(seed + floor(i / 4) * golden),  mix: SplitMix64's finalizer
//
// The same formula in torch's operations stands in modules/dropout.py. Nothing is kept: backward is the same call on the
// gradient. Written so that compilers vectorize it.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "threads.h"

namespace {

constexpr int64_t kPiece = 256;             // elements whose hashes are in cache together
constexpr int64_t kLeastPerThread = 1 << 17;

float widened(uint16_t x) {
    const uint32_t bits = uint32_t(x) << 16;
    float wide;
    std::memcpy(&wide, &bits, 4);
    return wide;
}

uint16_t narrowed(float x) {  // to the nearest bfloat16, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
    return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

void scaled(const float* x, float* y, const int16_t* uniform, int16_t threshold, float noise, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = x[i] * (uniform[i] >= threshold ? noise : 0.0f);
}

void scaled(const uint16_t* x, uint16_t* y, const int16_t* uniform, int16_t threshold, float noise, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = narrowed(widened(x[i]) * (uniform[i] >= threshold ? noise : 0.0f));
}

template <typename T>
void drop(const T* x, T* y, int64_t begin, int64_t end, uint64_t seed, int16_t threshold, float noise) {
    uint64_t bits[kPiece / 4];
    int16_t uniform[kPiece];
    for (int64_t start = begin; start < end; start += kPiece) {
        const uint64_t first = uint64_t(start / 4);
        for (uint64_t i = 0; i < kPiece / 4; ++i) {
            uint64_t state = seed + (first + i) * 0x9E3779B97F4A7C15u;
            state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
            state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
            bits[i] = state ^ (state >> 31);
        }
        std::memcpy(uniform, bits, sizeof(bits));
        scaled(x + start, y + start, uniform, threshold, noise, std::min(kPiece, end - start));
    }
}

template <typename T>
void drop_all(const T* x, T* y, int64_t count, uint64_t seed, int16_t threshold, float noise, int64_t threads) {
    threads = std::max<int64_t>(1, std::min(threads, count / kLeastPerThread));
    const auto from = [&](int64_t index) { return index == threads ? count : count * index / threads / kPiece * kPiece; };
    const auto work = [&](int64_t index) { drop(x, y, from(index), from(index + 1), seed, threshold, noise); };
    in_shares(threads, work);
}

}  // namespace

extern "C" void drop_float(const float* x, float* y, int64_t count, uint64_t seed, int16_t threshold, float noise,
                           int64_t threads) {
    drop_all(x, y, count, seed, threshold, noise, threads);
}

extern "C" void drop_bfloat16(const uint16_t* x, uint16_t* y, int64_t count, uint64_t seed, int16_t threshold,
                              float noise, int64_t threads) {
    drop_all(x, y, count, seed, threshold, noise, threads);
}
