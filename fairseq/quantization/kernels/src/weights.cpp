// Symmetric codes of a matrix with one scale per row, while each row is in cache: range, codes, and the codes transposed.
//
//     scale[n] = max(max_k |w[n, k]| / q, least),   code[n, k] = clamp(round(w[n, k] * (1 / scale[n])), -q, q)
//
// The numbers are those of formats/symmetric.py on the range of each row, to the last bit: the same operations in fp32,
// rounded half to even. Memory is read once; by separate passes it would be read and written five times.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "pack.h"
#include "threads.h"

namespace {

constexpr int64_t kTile = 16;           // rows and columns that are transposed at once
constexpr int64_t kMinPerThread = 1 << 17;

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

// A scale that is infinite stands for 0 * inf: NaN, as in the simulation.
float finite_or_nan(float scale) { return std::isinf(scale) ? std::numeric_limits<float>::quiet_NaN() : scale; }

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

// Rows begin .. end - 1 of codes (rows, columns) into transposed (columns, rows).
void turn(const int8_t* codes, int8_t* transposed, int64_t begin, int64_t end, int64_t rows, int64_t columns) {
    const int64_t whole = end - begin == kTile ? columns / kTile * kTile : 0;
    for (int64_t k = 0; k < whole; k += kTile)
        turn_tile(codes + begin * columns + k, columns, transposed + k * rows + begin, rows);
    for (int64_t k = whole; k < columns; ++k)
        for (int64_t n = begin; n < end; ++n) transposed[k * rows + n] = codes[n * columns + k];
}

}  // namespace

// w (rows, columns) in order -> codes (rows, columns), transposed (columns, rows), scale (rows).
extern "C" void encode_rows(const float* w, int64_t rows, int64_t columns, int32_t most, float least, int8_t* codes,
                            int8_t* transposed, float* scale, int64_t threads) {
    const int64_t tiles = (rows + kTile - 1) / kTile;
    threads = std::max<int64_t>(1, std::min({threads, rows * columns / kMinPerThread, tiles}));
    const auto work = [&](int64_t index) {
        for (int64_t tile = tiles * index / threads; tile < tiles * (index + 1) / threads; ++tile) {
            const int64_t begin = tile * kTile, end = std::min(begin + kTile, rows);
            for (int64_t n = begin; n < end; ++n) {
                scale[n] = finite_or_nan(std::max(largest(w + n * columns, columns) / float(most), least));
                encode(w + n * columns, columns, 1.0f / scale[n], float(most), codes + n * columns);
            }
            turn(codes, transposed, begin, end, rows, columns);
        }
    };
    in_shares(threads, work);
}

#if defined(DOT_PRODUCTS)

// The same codes for `multiply_codes`: `forward` packed over the columns of w, for x w^T, and `grad_input` over its rows,
// for g w, with their sums: row_sums (rows), column_sums (columns). Returns 1 where memory ran out, else 0.
extern "C" int encode_packed(const float* w, int64_t rows, int64_t columns, int32_t most, float least, uint8_t* forward,
                             int32_t* row_sums, uint8_t* grad_input, int32_t* column_sums, float* scale,
                             int64_t threads) {
    try {
        const int64_t panels = padded(rows, kColumns) / kColumns, wide = padded(columns, kColumns);
        const int64_t forward_bytes = panel_bytes(columns), grad_input_bytes = panel_bytes(rows);
        threads = std::max<int64_t>(1, std::min({threads, rows * columns / kMinPerThread, panels}));
        std::vector<int32_t> partial(threads * wide);
        std::vector<int8_t> tiles(threads * kColumns * columns);
        const auto work = [&](int64_t index) {
            int8_t* tile = tiles.data() + index * kColumns * columns;
            const auto* codes = reinterpret_cast<const uint8_t*>(tile);
            for (int64_t panel = panels * index / threads; panel < panels * (index + 1) / threads; ++panel) {
                const int64_t begin = panel * kColumns, count = std::min(kColumns, rows - begin);
                for (int64_t n = 0; n < count; ++n) {
                    const float* row = w + (begin + n) * columns;
                    scale[begin + n] = finite_or_nan(std::max(largest(row, columns) / float(most), least));
                    encode(row, columns, 1.0f / scale[begin + n], float(most), tile + n * columns);
                }
                int32_t sums[kColumns] = {};
                pack_contiguous(codes, columns, columns, count, kColumns, 0, forward + panel * forward_bytes);
                add_panel(forward + panel * forward_bytes, padded(columns, 4) / 4, sums);
                std::copy(sums, sums + count, row_sums + begin);
                for (int64_t k = 0; k < columns; k += kColumns) {
                    const int64_t width = std::min(kColumns, columns - k);
                    uint8_t* target = grad_input + k / kColumns * grad_input_bytes + begin * kColumns;
                    pack_strided(codes + k, columns, count, width, columns - k, kColumns, 0, target);
                    add_panel(target, padded(count, 4) / 4, partial.data() + index * wide + k);
                }
            }
        };
        in_shares(threads, work);
        for (int64_t k = 0; k < columns; ++k) {
            column_sums[k] = 0;
            for (int64_t index = 0; index < threads; ++index) column_sums[k] += partial[index * wide + k];
        }
        return 0;
    } catch (...) {
        return 1;
    }
}

#endif
