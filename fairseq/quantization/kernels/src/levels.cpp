// Fake quantization to listed levels, and to floating-point numbers of few digits: what formats/codebook and
// formats/float/significand.py compute with torch's operations, to the last bit, in one pass over memory.
//
//     listed   value = level[number of thresholds below x / scale] * scale
//     digits   value = clamp(x / scale) rounded to steps of max(2^floor(log2 |x / scale|), 2^e) * 2^-m, * scale
//
// Up to 32 levels are selected one after the other, as many values at a time as a register holds. Of longer lists a table
// has, for each pattern of the 16 leading bits of a number, how many thresholds lie below all numbers that begin so; the
// few thresholds among those numbers are compared.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "threads.h"
#include "vectors.h"

extern "C" {

// Where the scales of a matrix (rows, columns) lie; see kernels/levels.py.
enum : int32_t { kNone = 0, kOne = 1, kOfRows = 2, kOfColumns = 3 };

struct Matrix {
    const float* x;
    float* out;  // may be x
    const float* scale;
    int64_t count, columns;  // the last row may be a shorter one
    int32_t layout;
};

struct Listed {
    const float* thresholds;  // (tables, levels - 1) ascending; of a long list infinity behind them
    const float* levels;      // (tables, levels)
    const uint16_t* starts;   // (2^16) of a long list
    int64_t count;            // levels
    int32_t by_row_thresholds, by_row_levels;  // whether each row has its own
    int32_t rounds;           // the most thresholds among numbers that begin with the same 16 bits
    int32_t divides;          // 0: thresholds are those of x itself
};

struct Digits {
    float least_normal;  // 2^e
    float whole;         // 1.5 * 2^(23 - m): adding it times a power of two rounds to steps of that times 2^-m
    float least_shift;   // that of numbers below 2^e
    float bound;         // where values are clamped before they are rounded
    float largest, beyond;  // what exceeds `largest` becomes `beyond`
};
}

namespace {

constexpr int64_t kLeastPerThread = 1 << 16;
constexpr int64_t kStrip = 256;  // values between two steps, in cache
constexpr int64_t kFew = 32;     // levels
constexpr int32_t kMostRounds = 4;

// Divides, lets `round` work on up to kStrip values, and multiplies. `round` may be given one place for both.
template <typename Round>
void along_row(const Matrix& m, int64_t row, bool divides, const Round& round) {
    const float* x = m.x + row * m.columns;
    float* out = m.out + row * m.columns;
    const int64_t columns = std::min(m.columns, m.count - row * m.columns);
    alignas(64) float values[kStrip];
    for (int64_t start = 0; start < columns; start += kStrip) {
        const int64_t size = std::min(kStrip, columns - start);
        const float* from = x + start;
        float* to = out + start;
        if (m.layout == kNone) {
            round(from, to, size);
        } else if (m.layout == kOfColumns) {
            const float* scale = m.scale + start;
            for (int64_t i = 0; i < size; ++i) values[i] = divides ? from[i] / scale[i] : from[i];
            round(values, values, size);
            for (int64_t i = 0; i < size; ++i) to[i] = values[i] * scale[i];
        } else {
            const float scale = m.scale[m.layout == kOfRows ? row : 0];
            for (int64_t i = 0; i < size; ++i) values[i] = divides ? from[i] / scale : from[i];
            round(values, values, size);
            for (int64_t i = 0; i < size; ++i) to[i] = values[i] * scale;
        }
    }
}

template <typename RoundRow>
void each_row(const Matrix& m, int64_t threads, const RoundRow& round_row) {
    const int64_t rows = (m.count + m.columns - 1) / m.columns;
    threads = std::max<int64_t>(1, std::min({threads, rows, m.count / kLeastPerThread}));
    in_shares(threads, [&](int64_t index) {
        for (int64_t row = rows * index / threads; row < rows * (index + 1) / threads; ++row) round_row(row);
    });
}

// `work` on registers full of values; the last ones are filled up.
template <typename Work>
INLINE void by_register(const float* x, float* out, int64_t size, const Work& work) {
    int64_t i = 0;
    for (; i + kLanes <= size; i += kLanes) store(out + i, work(load(x + i)));
    if (i == size) return;
    float rest[kLanes] = {};
    std::copy(x + i, x + size, rest);
    store(rest, work(load(rest)));
    std::copy(rest, rest + (size - i), out + i);
}

void select_few(const float* from, float* to, int64_t size, const Listed& listed) {
    by_register(from, to, size, [&](Floats x) {
        Floats y = all(listed.levels[0]);
        for (int64_t i = 1; i < listed.count; ++i)
            y = x > all(listed.thresholds[i - 1]) ? all(listed.levels[i]) : y;
        return x != x ? x : y;  // NaN, for which no comparison holds
    });
}

template <int32_t kRounds>
void look_up(const float* from, float* to, int64_t size, const Listed& listed) {
    const float *thresholds = listed.thresholds, *levels = listed.levels;
    for (int64_t i = 0; i < size; ++i) {
        const float x = from[i];
        uint32_t bits;
        std::memcpy(&bits, &x, sizeof(bits));
        uint32_t level = listed.starts[bits >> 16];
        for (int32_t round = 0; round < kRounds; ++round) level += x > thresholds[level];
        to[i] = x != x ? x : levels[level];
    }
}

INLINE Floats rounded(Floats x, const Digits& digits) {
    const Floats bound = all(digits.bound), least = all(digits.least_normal), largest = all(digits.largest);
    x = x > bound ? bound : x;
    x = x < -bound ? -bound : x;
    const Floats power = as<Floats>(as<Ints>(x) & 0x7F800000);
    const Floats shift = power < least ? all(digits.least_shift) : power * digits.whole;
    const Floats y = (x + shift) - shift;
    const Floats below = y < -largest ? -all(digits.beyond) : y;
    return y > largest ? all(digits.beyond) : below;
}

}  // namespace

extern "C" {

void round_to_listed(const Matrix* matrix, const Listed* listed, int64_t threads) {
    const Listed& all_rows = *listed;
    each_row(*matrix, threads, [&](int64_t row) {
        Listed mine = all_rows;
        if (mine.by_row_thresholds) mine.thresholds += row * (mine.count - 1);
        if (mine.by_row_levels) mine.levels += row * mine.count;
        along_row(*matrix, row, mine.divides, [&](const float* from, float* to, int64_t size) {
            if (mine.count <= kFew) select_few(from, to, size, mine);
            else if (mine.rounds == 1) look_up<1>(from, to, size, mine);
            else if (mine.rounds == 2) look_up<2>(from, to, size, mine);
            else look_up<kMostRounds>(from, to, size, mine);
        });
    });
}

void round_to_digits(const Matrix* matrix, const Digits* digits, int64_t threads) {
    each_row(*matrix, threads, [&](int64_t row) {
        along_row(*matrix, row, true, [&](const float* from, float* to, int64_t size) {
            by_register(from, to, size, [&](Floats x) { return rounded(x, *digits); });
        });
    });
}
}
