// As many floats as a register holds, as one value; and the smallest and largest of all that a kernel writes.
//
// The vector types are those that gcc and clang have on every processor. Lines of code then are what a loop over the
// elements would say, but sums and extremes stay in registers, which no compiler may do by itself with floats.

#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef int16_t Shorts __attribute__((vector_size(2 * kLanes)));

#define INLINE static inline __attribute__((always_inline))

template <typename To, typename From>
INLINE To as(From from) {  // the same bits
    static_assert(sizeof(To) == sizeof(From), "other size");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

INLINE Floats load(const float* from) {
    Floats x;
    std::memcpy(&x, from, sizeof(x));
    return x;
}

INLINE Shorts load(const int16_t* from) {
    Shorts x;
    std::memcpy(&x, from, sizeof(x));
    return x;
}

INLINE void store(float* to, Floats x) { std::memcpy(to, &x, sizeof(x)); }
INLINE void store(int16_t* to, Shorts x) { std::memcpy(to, &x, sizeof(x)); }

INLINE Floats all(float x) { return x - Floats{}; }

INLINE float sum(Floats x) {
    float total = 0;
    for (int lane = 0; lane < kLanes; ++lane) total += x[lane];
    return total;
}

// x to whole numbers, ties to even; |x| < 2^22.
INLINE Ints nearest(Floats x) {
    const Floats shift = all(12582912.0f);  // 1.5 * 2^23
    return as<Ints>(x + shift) - as<Ints>(shift);
}

INLINE Shorts narrowed(Ints x) { return __builtin_convertvector(x, Shorts); }
INLINE Ints widened(Shorts x) { return __builtin_convertvector(x, Ints); }
INLINE Floats floats(Ints x) { return __builtin_convertvector(x, Floats); }

// Smallest and largest of what it is shown; NaN both if any of it is.
struct Ends {
    Floats low = all(std::numeric_limits<float>::infinity());
    Floats high = all(-std::numeric_limits<float>::infinity());
    Ints top = Ints{};  // of the bits without sign: NaN's are above infinity's

    INLINE void see(Ends& ends, Floats y) {
        ends.low = y < ends.low ? y : ends.low;
        ends.high = y > ends.high ? y : ends.high;
        const Ints bits = as<Ints>(y) & 0x7fffffff;
        ends.top = bits > ends.top ? bits : ends.top;
    }
};

// The same of a thread's share, and of all of them.
struct Range {
    float low = std::numeric_limits<float>::infinity();
    float high = -std::numeric_limits<float>::infinity();

    void join(const Range& other) {
        if (other.low != other.low) {
            *this = other;
        } else if (low == low) {
            low = other.low < low ? other.low : low;
            high = other.high > high ? other.high : high;
        }
    }

    static Range of(const Ends& ends) {
        Range range;
        for (int lane = 0; lane < kLanes; ++lane) {
            const float nan = std::numeric_limits<float>::quiet_NaN();
            const bool broken = ends.top[lane] > 0x7f800000;
            range.join(broken ? Range{nan, nan} : Range{ends.low[lane], ends.high[lane]});
        }
        return range;
    }

    Range() = default;
    Range(float low, float high) : low(low), high(high) {}
};

}  // namespace
