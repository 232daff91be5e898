// Fake quantization of blocks that share a power of two: what formats/block and formats/float/significand.py compute with
// torch's operations, to the last bit, in one pass over memory.
//
//     scale = 2^(floor(log2 amax) - top), one more where the carry of the scale rule says so; NaN if amax is not finite
//     value = clamp(x / scale, -largest, largest) rounded to steps of max(2^floor(log2 |x / scale|), 2^e) * 2^-m, * scale
//
// and of blocks of nvfp4, which share a number of e4m3 times one of the tensor's:
//
//     scale = e4m3(amax / largest / shared), at least 2^-9, * shared
//
// Blocks lie along a row, or down a column: a block's scale is kept per column then, and rows are passed one after the
// other, so that both read and write memory in order. A last block may be shorter.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "threads.h"

extern "C" {

// A format and its scale rule; see kernels/blocks.py.
struct Blocks {
    int32_t size;                 // values in a block
    int32_t carry;                // of the scale rule: added to the bits of amax
    int32_t top;                  // floor(log2 largest)
    int32_t least_scale, most_scale;  // exponents
    float least_normal;           // 2^e
    float whole;                  // 1.5 * 2^(23 - m): adding it times a power of two rounds to steps of that times 2^-m
    float largest;
    float shared;                 // of nvfp4's scales; 0: scales are powers of two
};
}

namespace {

constexpr int64_t kLeastPerThread = 1 << 16;
constexpr int64_t kStrip = 256;  // columns whose scales are kept
constexpr int32_t kMagnitude = 0x7FFFFFFF, kInfinity = 0x7F800000, kLeastNormal = 0x00800000;

inline int32_t bits_of(float x) {
    int32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    return bits;
}

inline float float_of(int32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof(x));
    return x;
}

inline float power_of_two(int32_t exponent) {  // from -149 to 127: the product of two that have an exponent field
    const int32_t half = exponent >> 1;
    return float_of((half + 127) << 23) * float_of((exponent - half + 127) << 23);
}

// A scaled number rounded; comparisons let NaN through.
inline float rounded(float x, float least_normal, float whole, float largest) {
    x = x > largest ? largest : x;
    x = x < -largest ? -largest : x;
    float power = float_of(bits_of(x) & kInfinity);
    power = power < least_normal ? least_normal : power;
    const float shift = power * whole;
    return (x + shift) - shift;
}

// `amax`: the bits of the largest magnitude, which are in the order of the numbers.
inline float scale_of(const Blocks& blocks, int32_t amax) {
    if (blocks.shared != 0.0f) {
        const float scale = rounded(float_of(amax) / blocks.largest / blocks.shared, 0x1p-6f, 0x1.8p20f, 448.0f);
        return (scale < 0x1p-9f ? 0x1p-9f : scale) * blocks.shared;
    }
    if (amax == 0) return 1.0f;
    if (amax >= kInfinity) return std::numeric_limits<float>::quiet_NaN();
    int32_t lift = 0;
    if (amax < kLeastNormal) {  // a number that fp32 writes without exponent gets one
        amax = bits_of(float_of(amax) * 4294967296.0f);
        lift = 32;
    }
    const int32_t exponent = ((amax + blocks.carry) >> 23) - 127 - blocks.top - lift;
    return power_of_two(std::min(std::max(exponent, blocks.least_scale), blocks.most_scale));
}

// Whether a scale is a power of two whose reciprocal is a normal number too: products with it are exact then.
inline bool inverts(const Blocks& blocks, float scale) {
    if (blocks.shared != 0.0f) return false;
    const int32_t bits = bits_of(scale);
    return bits >= kLeastNormal && bits <= bits_of(power_of_two(126));
}

// `count` numbers of one block. The sizes that formats have are known to the compiler.
template <int64_t kSize>
void along_block(const float* x, float* out, int64_t given, const Blocks& blocks) {
    const int64_t count = kSize ? kSize : given;
    int32_t amax = 0;
    for (int64_t j = 0; j < count; ++j) amax = std::max(amax, bits_of(x[j]) & kMagnitude);
    const float scale = scale_of(blocks, amax);
    const float least = blocks.least_normal, whole = blocks.whole, largest = blocks.largest;
    if (inverts(blocks, scale)) {
        const float inverse = 1.0f / scale;
        for (int64_t j = 0; j < count; ++j) out[j] = rounded(x[j] * inverse, least, whole, largest) * scale;
    } else {
        for (int64_t j = 0; j < count; ++j) out[j] = rounded(x[j] / scale, least, whole, largest) * scale;
    }
}

void along_row(const float* x, float* out, int64_t columns, const Blocks& blocks) {
    int64_t start = 0;
    const int64_t size = blocks.size;
    if (size == 32)
        for (; start + 32 <= columns; start += 32) along_block<32>(x + start, out + start, 32, blocks);
    else if (size == 16)
        for (; start + 16 <= columns; start += 16) along_block<16>(x + start, out + start, 16, blocks);
    for (; start < columns; start += size)
        along_block<0>(x + start, out + start, std::min(size, columns - start), blocks);
}

// Blocks down `count` columns of a matrix with `columns` of them, `rows` numbers in each.
void down_columns(const float* x, float* out, int64_t rows, int64_t columns, int64_t count, const Blocks& blocks) {
    int32_t amax[kStrip];
    float scale[kStrip], inverse[kStrip];
    std::fill(amax, amax + count, 0);
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < count; ++j) amax[j] = std::max(amax[j], bits_of(x[i * columns + j]) & kMagnitude);
    bool all_invert = true;
    for (int64_t j = 0; j < count; ++j) {
        scale[j] = scale_of(blocks, amax[j]);
        all_invert = all_invert && (inverts(blocks, scale[j]) || (scale[j] != scale[j] && blocks.shared == 0.0f));
        inverse[j] = 1.0f / scale[j];
    }
    const float least = blocks.least_normal, whole = blocks.whole, largest = blocks.largest;
    for (int64_t i = 0; i < rows; ++i) {
        const float* from = x + i * columns;
        float* to = out + i * columns;
        if (all_invert)
            for (int64_t j = 0; j < count; ++j) to[j] = rounded(from[j] * inverse[j], least, whole, largest) * scale[j];
        else
            for (int64_t j = 0; j < count; ++j) to[j] = rounded(from[j] / scale[j], least, whole, largest) * scale[j];
    }
}

int64_t threads_for(int64_t threads, int64_t shares, int64_t numbers) {
    return std::max<int64_t>(1, std::min({threads, shares, numbers / kLeastPerThread}));
}

}  // namespace

extern "C" {

// x (rows, columns) in order -> out, blocks along the rows. out may be x.
void blocks_along_rows(const float* x, float* out, int64_t rows, int64_t columns, const Blocks* blocks, int64_t threads) {
    threads = threads_for(threads, rows, rows * columns);
    in_shares(threads, [&](int64_t index) {
        for (int64_t row = rows * index / threads; row < rows * (index + 1) / threads; ++row)
            along_row(x + row * columns, out + row * columns, columns, *blocks);
    });
}

// x (matrices, rows, columns) in order -> out, blocks down the columns of each matrix.
void blocks_down_columns(const float* x, float* out, int64_t matrices, int64_t rows, int64_t columns,
                         const Blocks* blocks, int64_t threads) {
    const int64_t size = blocks->size, bands = (rows + size - 1) / size, all = matrices * bands;
    threads = threads_for(threads, all, matrices * rows * columns);
    in_shares(threads, [&](int64_t index) {
        for (int64_t band = all * index / threads; band < all * (index + 1) / threads; ++band) {
            const int64_t first = band % bands * size, offset = (band / bands * rows + first) * columns;
            const int64_t height = std::min(size, rows - first);
            for (int64_t start = 0; start < columns; start += kStrip)
                down_columns(x + offset + start, out + offset + start, height, columns,
                             std::min(kStrip, columns - start), *blocks);
        }
    });
}
}
