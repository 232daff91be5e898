// Dropout in one pass: y = x * noise where the element's bits (`masks.h`) are at least a threshold, else x * 0; in fp32
// with the smallest and largest y.
//
// Nothing is kept: backward is the same call on the gradient.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "masks.h"
#include "threads.h"
#include "vectors.h"

namespace {

constexpr int64_t kPiece = 256;  // elements whose hashes are in cache together
constexpr int64_t kMinPerThread = 1 << 17;

float wide(uint16_t x) {
    const uint32_t bits = uint32_t(x) << 16;
    return as<float>(bits);
}

uint16_t narrow(float x) {  // to the nearest bfloat16, ties to even
    const uint32_t bits = as<uint32_t>(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
    return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

struct Mask {
    uint64_t seed;
    int16_t threshold;
    float noise;
};

void scaled(const uint16_t* x, uint16_t* y, const int16_t* uniform, const Mask& mask, int64_t count, Ends&) {
    for (int64_t i = 0; i < count; ++i) y[i] = narrow(wide(x[i]) * (uniform[i] >= mask.threshold ? mask.noise : 0.0f));
}

void scaled(const float* x, float* y, const int16_t* uniform, const Mask& mask, int64_t count, Ends& ends) {
    const auto of = [&](Floats in, Shorts bits) {
        const Floats out = in * (widened(bits) >= mask.threshold ? all(mask.noise) : Floats{});
        Ends::see(ends, out);
        return out;
    };
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) store(y + i, of(load(x + i), load(uniform + i)));
    if (i == count) return;
    float rest[kLanes];  // with the last element repeated, which changes no range
    int16_t bits[kLanes];
    for (int64_t lane = 0; lane < kLanes; ++lane) {
        rest[lane] = x[std::min(i + lane, count - 1)];
        bits[lane] = uniform[std::min(i + lane, count - 1)];
    }
    const Floats out = of(load(rest), load(bits));
    std::memcpy(y + i, &out, size_t(count - i) * sizeof(float));
}

template <typename T>
Range drop(const T* x, T* y, int64_t begin, int64_t end, const Mask& mask) {
    int16_t uniform[kPiece];
    Ends ends;
    for (int64_t start = begin; start < end; start += kPiece) {
        draw(mask.seed, uint64_t(start / 4), kPiece / 4, uniform);
        scaled(x + start, y + start, uniform, mask, std::min(kPiece, end - start), ends);
    }
    return Range::of(ends);
}

template <typename T>
Range drop_all(const T* x, T* y, int64_t count, const Mask& mask, int64_t threads) {
    threads = std::max<int64_t>(1, std::min(threads, count / kMinPerThread));
    const auto from = [&](int64_t index) { return index == threads ? count : count * index / threads / kPiece * kPiece; };
    std::vector<Range> found(static_cast<size_t>(threads));
    in_shares(threads, [&](int64_t index) { found[size_t(index)] = drop(x, y, from(index), from(index + 1), mask); });
    for (size_t index = 1; index < found.size(); ++index) found[0].join(found[index]);
    return found[0];
}

}  // namespace

extern "C" void drop_float(const float* x, float* y, int64_t count, uint64_t seed, int16_t threshold, float noise,
                           float* range, int64_t threads) {
    const Range found = drop_all(x, y, count, Mask{seed, threshold, noise}, threads);
    range[0] = found.low;
    range[1] = found.high;
}

extern "C" void drop_bfloat16(const uint16_t* x, uint16_t* y, int64_t count, uint64_t seed, int16_t threshold,
                              float noise, float*, int64_t threads) {
    drop_all(x, y, count, Mask{seed, threshold, noise}, threads);
}
