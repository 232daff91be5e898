// Symmetric codes of a matrix with one scale per row, while each row is in cache: range, codes, and the codes turned.
//
//     scale[n] = max(max_k |w[n, k]| / q, least),   code[n, k] = clamp(round(w[n, k] * (1 / scale[n])), -q, q)
//
// The numbers are those of formats/symmetric.py on the range of each row, to the last bit: the same operations in fp32,
// rounded half to even. Memory is read once; by separate passes it would be read and written five times.

#include <algorithm>
#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "threads.h"

namespace {

constexpr int64_t kTile = 16;           // rows and columns that are turned at once
constexpr int64_t kLeastPerThread = 1 << 17;

float largest(const float* row, int64_t count) {
    int32_t most = 0;  // magnitudes are ordered as their bits are, and NaN is above all
    for (int64_t k = 0; k < count; ++k) {
        int32_t bits;
        std::memcpy(&bits, row + k, 4);
        most = std::max(most, bits & 0x7fffffff);
    }
    float magnitude;
    std::memcpy(&magnitude, &most, 4);
    return magnitude;
}

void encode(const float* row, int64_t count, float reciprocal, float most, int8_t* codes) {
    const float whole = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, half to even
    for (int64_t k = 0; k < count; ++k) {
        const float clamped = std::min(std::max(row[k] * reciprocal, -most), most);
        const float shifted = clamped + whole;
        int32_t bits;
        std::memcpy(&bits, &shifted, 4);
        codes[k] = int8_t(bits - 0x4b400000);
    }
}

// target[c * target_stride + r] = source[r * source_stride + c], 16 x 16
void turn_tile(const int8_t* source, int64_t source_stride, int8_t* target, int64_t target_stride) {
#if defined(__SSE2__)
    __m128i a[kTile], b[kTile];
    for (int64_t r = 0; r < kTile; ++r)
        a[r] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + r * source_stride));
    // four times: row i beside row i + 8, byte by byte
    for (int turn = 0; turn < 4; ++turn) {
        for (int64_t i = 0; i < kTile / 2; ++i) {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + kTile / 2]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + kTile / 2]);
        }
        std::memcpy(a, b, sizeof(a));
    }
    for (int64_t c = 0; c < kTile; ++c)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(target + c * target_stride), a[c]);
#else
    for (int64_t r = 0; r < kTile; ++r)
        for (int64_t c = 0; c < kTile; ++c) target[c * target_stride + r] = source[r * source_stride + c];
#endif
}

// Rows begin .. end - 1 of codes (rows, columns) into turned (columns, rows).
void turn(const int8_t* codes, int8_t* turned, int64_t begin, int64_t end, int64_t rows, int64_t columns) {
    const int64_t whole = end - begin == kTile ? columns / kTile * kTile : 0;
    for (int64_t k = 0; k < whole; k += kTile)
        turn_tile(codes + begin * columns + k, columns, turned + k * rows + begin, rows);
    for (int64_t k = whole; k < columns; ++k)
        for (int64_t n = begin; n < end; ++n) turned[k * rows + n] = codes[n * columns + k];
}

}  // namespace

// w (rows, columns) in order -> codes (rows, columns), turned (columns, rows), scale (rows).
extern "C" void encode_rows(const float* w, int64_t rows, int64_t columns, int32_t most, float least, int8_t* codes,
                            int8_t* turned, float* scale, int64_t threads) {
    const int64_t tiles = (rows + kTile - 1) / kTile;
    threads = std::max<int64_t>(1, std::min({threads, rows * columns / kLeastPerThread, tiles}));
    const auto work = [&](int64_t index) {
        for (int64_t tile = tiles * index / threads; tile < tiles * (index + 1) / threads; ++tile) {
            const int64_t begin = tile * kTile, end = std::min(begin + kTile, rows);
            for (int64_t n = begin; n < end; ++n) {
                scale[n] = std::max(largest(w + n * columns, columns) / float(most), least);
                encode(w + n * columns, columns, 1.0f / scale[n], float(most), codes + n * columns);
            }
            turn(codes, turned, begin, end, rows, columns);
        }
    };
    in_shares(threads, work);
}
