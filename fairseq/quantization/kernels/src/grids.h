// Ranges, grids and codes with one scale for all: what observers/minmax.py, formats/*.py and codes.py compute, to the last
// bit, without a tensor for every number.
//
//     affine            code = clamp(round(x * (1 / scale) + u) + zero, 0, 2^b - 1)
//     symmetric         code = clamp(round(x * (1 / scale) + u), -q, q) + 2^(b-1)
//     affine_float_zp   code = round(clamp((x - zero) / scale + u, 0, 2^b - 1))
//     value = scale (code - zero_point) + offset
//
// u is 0, or the noise of noise.py: ((row hash xor column hash) * kSpread) / 2^32 as a signed number. In fp32, rounded half
// to even; a clamp to whole numbers may as well come before the rounding.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace {

enum : int32_t { kAffine = 0, kSymmetric = 1, kAffineFloatZp = 2 };
constexpr float kMinScale = std::numeric_limits<float>::min(), kMinAffineScale = 1e-8f;
constexpr float kMaxZeroPoint = 255.0f;
constexpr float kWhole = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, half to even
constexpr uint32_t kSpread = 0x2545F491u;
constexpr int64_t kStrip = 256;  // elements between two steps, in cache

}  // namespace

extern "C" {

// A quantizer with one scale: its settings, the range of what it rounds, and the grid made of them.
struct KernelQParams {
    int32_t format, num_bits;
    int32_t has_range;  // 1: the range is known, as from training; 0: it is the smallest and largest value
    int32_t stochastic;
    uint64_t noise;  // state of the hash, where stochastic
    float low, high;
    float scale, zero;  // as the format has them
    float offset;
    int32_t zero_point;
};
}

namespace {

// Stops the compiler from contracting a product and a sum across this point into one fused multiply-add.
inline void settle(const float* numbers) {
#if defined(__GNUC__)
    asm volatile("" : : "r"(numbers) : "memory");
#else
    (void)numbers;
#endif
}

struct Range {
    float low = std::numeric_limits<float>::infinity(), high = -std::numeric_limits<float>::infinity();
    bool bad = false;  // NaN

    void join(const Range& other) {
        low = std::min(low, other.low);
        high = std::max(high, other.high);
        bad = bad || other.bad;
    }
};

// Numbers that are worked on together: a type of gcc and clang, in as many registers as it takes.
constexpr int64_t kLine = 16;
typedef float Line __attribute__((vector_size(4 * kLine)));
typedef int32_t LineInts __attribute__((vector_size(4 * kLine)));

#define INLINE inline __attribute__((always_inline))

INLINE Line load(const float* from) {
    Line x;
    std::memcpy(&x, from, sizeof(x));
    return x;
}

INLINE void store(float* to, Line x) { std::memcpy(to, &x, sizeof(x)); }
INLINE Line all(float x) { return x - Line{}; }

// Running extremes of many numbers.
struct Lanes {
    Line low = all(std::numeric_limits<float>::infinity()), high = all(-std::numeric_limits<float>::infinity());
    LineInts bad = {};

    static INLINE void see(Lanes& lanes, Line x) {
        lanes.low = x < lanes.low ? x : lanes.low;
        lanes.high = x > lanes.high ? x : lanes.high;
        lanes.bad |= x != x;
    }

    // Members are written once: they stay in registers on the way.
    INLINE void see(const float* x, int64_t count) {
        Lanes mine = *this, other;
        int64_t i = 0;
        for (; i + 2 * kLine <= count; i += 2 * kLine) {
            see(mine, load(x + i));
            see(other, load(x + i + kLine));
        }
        for (; i + kLine <= count; i += kLine) see(mine, load(x + i));
        mine.low = other.low < mine.low ? other.low : mine.low;
        mine.high = other.high > mine.high ? other.high : mine.high;
        mine.bad |= other.bad;
        for (; i < count; ++i) {
            mine.low[0] = x[i] < mine.low[0] ? x[i] : mine.low[0];
            mine.high[0] = x[i] > mine.high[0] ? x[i] : mine.high[0];
            mine.bad[0] |= x[i] != x[i];
        }
        *this = mine;
    }

    Range range() const {
        Range found;
        for (int64_t lane = 0; lane < kLine; ++lane) {
            found.low = std::min(found.low, low[lane]);
            found.high = std::max(found.high, high[lane]);
            found.bad = found.bad || bad[lane];
        }
        return found;
    }
};

// std::nearbyint, which needs no library where compilers have an instruction.
inline float rounded(float x) { return std::nearbyint(x); }

// max and min as tensors have them: NaN stays.
inline float at_least(float x, float least) { return x < least ? least : x; }
inline float at_most(float x, float most) { return x > most ? most : x; }

inline float max_code(const KernelQParams& x) {
    return float((1 << (x.format == kSymmetric ? x.num_bits - 1 : x.num_bits)) - 1);
}

// A scale that is infinite stands for 0 * inf: NaN, as in the simulation.
inline float finite_or_nan(float scale) { return std::isinf(scale) ? std::numeric_limits<float>::quiet_NaN() : scale; }

// Scale and zero point of a range. `found`: the range, unless x.has_range; `factor`: positive, on its numbers.
inline void make_grid(KernelQParams& x, const Range& found, float factor) {
    if (!x.has_range) {
        const float nan = std::numeric_limits<float>::quiet_NaN();
        x.low = found.bad ? nan : found.low * factor;
        x.high = found.bad ? nan : found.high * factor;
    }
    const float most = max_code(x);
    x.offset = 0.0f;
    if (x.format == kAffine) {
        const float low = at_most(x.low, 0.0f), high = at_least(x.high, 0.0f);
        float parts[2] = {high / most, low / most};
        settle(parts);
        x.scale = at_least(parts[0] - parts[1], kMinScale);
        x.zero = at_most(at_least(rounded(-low / x.scale), 0.0f), most);
        x.zero_point = x.zero == x.zero ? int32_t(x.zero) : 0;
    } else if (x.format == kSymmetric) {
        x.scale = at_least((x.low != x.low || -x.low > x.high ? -x.low : x.high) / most, kMinScale);
        x.zero = 0.0f;
        x.zero_point = 1 << (x.num_bits - 1);
    } else {
        x.scale = at_least((x.high - x.low) / most, kMinAffineScale);
        x.zero = x.low;
        const float whole = at_most(at_least(rounded(-x.zero / x.scale), 0.0f), kMaxZeroPoint);
        float part[1] = {whole * x.scale};
        settle(part);
        x.offset = x.zero + part[0];
        x.zero_point = whole == whole ? int32_t(whole) : 0;
    }
    x.scale = finite_or_nan(x.scale);
}

// --- noise ------------------------------------------------------------------------------------------------------------

inline uint64_t mixed(uint64_t x) {  // two of the three steps of SplitMix64's finalizer
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    return (x ^ (x >> 27)) * 0x94D049BB133111EBu;
}

inline uint32_t index_hash(uint64_t state, uint64_t index) {
    return uint32_t(mixed(state + index * 0x9E3779B97F4A7C15u) >> 32);
}

inline void index_hashes(uint64_t state, uint64_t first, int64_t count, uint32_t* hashes) {
    for (int64_t i = 0; i < count; ++i) hashes[i] = index_hash(state, first + uint64_t(i));
}

// --- codes ------------------------------------------------------------------------------------------------------------

// Codes of `count` values times `factor`. `columns`: hashes of their columns, for stochastic rounding.
// True where the range was given and a value is NaN: no code stands for it. A range that was found is NaN itself then.
inline bool encode(const float* x, int64_t count, float factor, const KernelQParams& qparams, uint32_t row,
                   const uint32_t* columns, uint8_t* codes) {
    alignas(64) float steps[kStrip];
    const float most = max_code(qparams), reciprocal = 1.0f / qparams.scale, zero = qparams.zero, scale = qparams.scale;
    const float above = qparams.format == kSymmetric ? most : qparams.format == kAffine ? most - zero : most;
    const float below = qparams.format == kSymmetric ? -most : qparams.format == kAffine ? -zero : 0.0f;
    const int32_t zero_code = qparams.format == kAffineFloatZp ? 0 : qparams.zero_point;
    int32_t bad = 0;
    for (int64_t start = 0; start < count; start += kStrip) {
        const int64_t size = std::min(kStrip, count - start);
        const float* __restrict values = x + start;
        if (qparams.has_range)
            for (int64_t i = 0; i < size; ++i) bad |= values[i] != values[i];
        if (qparams.format == kAffineFloatZp) {
            for (int64_t i = 0; i < size; ++i) steps[i] = values[i] * factor;
            settle(steps);
            for (int64_t i = 0; i < size; ++i) steps[i] = (steps[i] - zero) / scale;
        } else {
            for (int64_t i = 0; i < size; ++i) steps[i] = values[i] * factor * reciprocal;
        }
        settle(steps);
        if (columns) {
            const uint32_t* __restrict hashes = columns + start;
            for (int64_t i = 0; i < size; ++i)
                steps[i] += float(int32_t((row ^ hashes[i]) * kSpread)) * 0x1p-32f;
        }
        uint8_t* __restrict target = codes + start;
        for (int64_t i = 0; i < size; ++i) {
            float step = steps[i] < below ? below : steps[i];
            step = (step > above ? above : step) + kWhole;
            int32_t bits;
            std::memcpy(&bits, &step, 4);
            target[i] = uint8_t(bits + zero_code);
        }
    }
    return bad != 0;
}

}  // namespace
