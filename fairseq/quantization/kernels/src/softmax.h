// Rows of scores to probabilities, and dropout's factors, 16 numbers at a time.

#pragma once

#include <vector>

#include "grids.h"
#include "masks.h"

namespace {

// e^x for x <= 0, to 1e-7 of it; 0 below e^-60: what is multiplied by so little would cost a hundred cycles as denormals.
INLINE Line exponential(Line x) {
    const Line least = all(-60.0f), bounded = x < least ? least : x;
    const Line shifted = bounded * 1.44269504f + kWhole, turns = shifted - kWhole;
    const Line r = (bounded - turns * 0.693145752f) - turns * 1.42860677e-6f;  // ln 2 in two parts
    const Line square = r * r;
    Line series = (1.0f / 720 + r * (1.0f / 5040)) * square + (1.0f / 24 + r * (1.0f / 120));
    series = series * square + (0.5f + r * (1.0f / 6));
    series = series * square + (1.0f + r);
    LineInts bits;
    std::memcpy(&bits, &shifted, sizeof(bits));
    bits = (bits - (0x4b400000 - 127)) << 23;
    Line power;
    std::memcpy(&power, &bits, sizeof(power));
    return x < least ? Line{} : series * power;
}

INLINE float added(Line x) {
    float total[kLine];
    store(total, x);
    for (int64_t half = kLine / 2; half > 0; half /= 2)
        for (int64_t lane = 0; lane < half; ++lane) total[lane] += total[lane + half];
    return total[0];
}

INLINE float largest(Line x) {
    float most[kLine];
    store(most, x);
    for (int64_t half = kLine / 2; half > 0; half /= 2)
        for (int64_t lane = 0; lane < half; ++lane) most[lane] = std::max(most[lane], most[lane + half]);
    return most[0];
}

// Softmax of a row in place. Room for whole lines behind it, which are 0 afterwards.
INLINE void softmax(float* x, int64_t count, const float* mask) {
    const int64_t room = padded(count, kLine);
    if (mask)
        for (int64_t j = 0; j < count; ++j) x[j] += mask[j];
    for (int64_t j = count; j < room; ++j) x[j] = -std::numeric_limits<float>::infinity();
    Line most = load(x), total = {};
    for (int64_t j = kLine; j < room; j += kLine) {
        const Line line = load(x + j);
        most = line > most ? line : most;
    }
    const float top = largest(most);
    for (int64_t j = 0; j < room; j += kLine) {
        const Line line = exponential(load(x + j) - top);
        total += line;
        store(x + j, line);
    }
    const float share = 1.0f / added(total);
    for (int64_t j = 0; j < room; j += kLine) store(x + j, load(x + j) * share);
}

// The bits of elements first .. first + count - 1.
struct Uniform {
    std::vector<int16_t> bits;

    const int16_t* of(uint64_t seed, uint64_t first, int64_t count) {
        const uint64_t start = first / 4;
        const int64_t groups = int64_t((first + uint64_t(count) + 3) / 4 - start);
        bits.resize(std::max(bits.size(), size_t(4 * groups + kLine)));  // whole lines are read
        draw(seed, start, groups, bits.data());
        return bits.data() + first % 4;
    }
};

// What dropout multiplies 16 probabilities by.
INLINE Line noise_of(const int16_t* uniform, int16_t threshold, float noise) {
    typedef int16_t Bits __attribute__((vector_size(2 * kLine)));
    Bits bits;
    std::memcpy(&bits, uniform, sizeof(bits));
    return __builtin_convertvector(bits, LineInts) >= int32_t(threshold) ? all(noise) : Line{};
}

}  // namespace
