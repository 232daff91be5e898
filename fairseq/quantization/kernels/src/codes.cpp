// Codes of a matrix, range and grid included: codes.py says what they are, and has them in torch's operations.
//
//     first    codes of x[row, column] * column_scale[column]
//     second   codes of x[row, column] * row_scale[row]
//
// as a gradient needs them for its two products (layers/integer.py); with one of them, or without factors, those of x.
// Two passes over memory: ranges, and codes with their sums over the rows. The numbers are torch's to the last bit.
// Then codes on a grid of each row, and several codes to the byte.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "grids.h"
#include "threads.h"

extern "C" {

// One set of codes (rows, columns); factors may be null.
struct EncodeRequest {
    KernelQParams* qparams;
    const float* column_scale;       // (columns)
    const float* row_scale;  // (rows), not negative
    uint8_t* codes;
};
}

namespace {

constexpr int64_t kMinPerThread = 1 << 16;

// Row `row` of the values whose codes are requests: x itself, or x times column_scale in `buffer`.
const float* scaled(const float* x, const float* column_scale, int64_t columns, float* buffer) {
    if (!column_scale) return x;
    for (int64_t j = 0; j < columns; ++j) buffer[j] = x[j] * column_scale[j];
    settle(buffer);
    return buffer;
}

void find_ranges(const float* x, int64_t rows, int64_t columns, const EncodeRequest* requests, int64_t count, int64_t threads) {
    std::vector<Range> found(threads * count);
    const auto work = [&](int64_t index) {
        std::vector<float> buffer(columns);
        Range mine[2];
        for (int64_t row = rows * index / threads; row < rows * (index + 1) / threads; ++row)
            for (int64_t i = 0; i < count; ++i) {
                Lanes lanes;
                lanes.see(scaled(x + row * columns, requests[i].column_scale, columns, buffer.data()), columns);
                Range range = lanes.range();
                if (requests[i].row_scale) {
                    const float factor = requests[i].row_scale[row];
                    range.low *= factor;
                    range.high *= factor;
                    range.bad = range.bad || range.low != range.low || range.high != range.high;
                }
                mine[i].join(range);
            }
        std::copy(mine, mine + count, found.begin() + index * count);
    };
    in_shares(threads, work);
    for (int64_t i = 0; i < count; ++i) {
        Range whole;
        for (int64_t index = 0; index < threads; ++index) whole.join(found[index * count + i]);
        make_grid(*requests[i].qparams, whole, 1.0f);
    }
}

}  // namespace

extern "C" {

// x (rows, columns) in order -> codes for each of `count` (1 or 2) requests. sums: of the last one's codes over the rows,
// (columns), or null. The grids are left in the qparams; a given range has a low end of NaN where x has NaN. Returns 1
// where memory ran out, else 0.
int encode_matrix(const float* x, int64_t rows, int64_t columns, const EncodeRequest* requests, int64_t count, int32_t* sums,
                  int64_t threads) {
    try {
        threads = std::max<int64_t>(1, std::min({threads, rows, rows * columns / kMinPerThread}));
        bool has_ranges = true;
        for (int64_t i = 0; i < count; ++i) has_ranges = has_ranges && requests[i].qparams->has_range;
        if (has_ranges)
            for (int64_t i = 0; i < count; ++i) make_grid(*requests[i].qparams, Range(), 1.0f);
        else
            find_ranges(x, rows, columns, requests, count, threads);
        const bool noise = requests[0].qparams->stochastic;
        const uint64_t state = requests[0].qparams->noise;
        std::vector<uint32_t> hashes(noise ? columns : 0);
        index_hashes(state, uint64_t(rows), int64_t(hashes.size()), hashes.data());
        std::vector<int32_t> partial(sums ? threads * columns : 0);
        std::vector<char> bad(threads * count, 0);
        const auto work = [&](int64_t index) {
            std::vector<float> buffer(columns);
            int32_t* mine = sums ? partial.data() + index * columns : nullptr;
            for (int64_t row = rows * index / threads; row < rows * (index + 1) / threads; ++row) {
                const uint32_t hash = noise ? index_hash(state, uint64_t(row)) : 0;
                for (int64_t i = 0; i < count; ++i) {
                    const EncodeRequest& one = requests[i];
                    if (encode(scaled(x + row * columns, one.column_scale, columns, buffer.data()), columns,
                               one.row_scale ? one.row_scale[row] : 1.0f, *one.qparams, hash,
                               noise ? hashes.data() : nullptr, one.codes + row * columns))
                        bad[index * count + i] = 1;
                }
                const uint8_t* last = requests[count - 1].codes + row * columns;
                if (mine)
                    for (int64_t j = 0; j < columns; ++j) mine[j] += last[j];
            }
        };
        in_shares(threads, work);
        for (int64_t i = 0; i < threads * count; ++i)
            if (bad[i]) requests[i % count].qparams->low = std::numeric_limits<float>::quiet_NaN();
        if (sums) {
            std::fill(sums, sums + columns, 0);
            for (int64_t index = 0; index < threads; ++index)
                for (int64_t j = 0; j < columns; ++j) sums[j] += partial[index * columns + j];
        }
        return 0;
    } catch (...) {
        return 1;
    }
}

// x (rows, columns) in order -> codes, on a grid for each row: scale and zero as `qparams`' format has them.
void encode_rows(const float* x, int64_t rows, int64_t columns, const KernelQParams* qparams, const float* scale,
                 const float* zero, uint8_t* codes, int64_t threads) {
    threads = std::max<int64_t>(1, std::min({threads, rows, rows * columns / kMinPerThread}));
    const auto work = [&](int64_t index) {
        KernelQParams mine = *qparams;
        for (int64_t row = rows * index / threads; row < rows * (index + 1) / threads; ++row) {
            mine.scale = scale[row];
            mine.zero = zero[row];
            mine.zero_point = mine.format == kSymmetric ? 1 << (mine.num_bits - 1) : int32_t(zero[row]);
            encode(x + row * columns, columns, 1.0f, mine, 0, nullptr, codes + row * columns);
        }
    };
    in_shares(threads, work);
}

// Codes of `width` bits, 2 or 4, several to the byte: those of one byte lie `packed_columns` apart.
void pack_bits(const uint8_t* codes, int64_t rows, int64_t columns, int64_t packed_columns, int32_t width,
               uint8_t* packed, int64_t threads) {
    threads = std::max<int64_t>(1, std::min({threads, rows, rows * columns / kMinPerThread}));
    const auto work = [&](int64_t index) {
        for (int64_t row = rows * index / threads; row < rows * (index + 1) / threads; ++row) {
            uint8_t* target = packed + row * packed_columns;
            const uint8_t* source = codes + row * columns;
            std::fill(target, target + packed_columns, uint8_t(0));
            for (int64_t start = 0, shift = 0; start < columns; start += packed_columns, shift += width) {
                const int64_t count = std::min(packed_columns, columns - start);
                for (int64_t j = 0; j < count; ++j) target[j] |= uint8_t(source[start + j] << shift);
            }
        }
    };
    in_shares(threads, work);
}

void unpack_bits(const uint8_t* packed, int64_t rows, int64_t columns, int64_t packed_columns, int32_t width,
                 uint8_t* codes, int64_t threads) {
    const uint8_t mask = uint8_t((1 << width) - 1);
    threads = std::max<int64_t>(1, std::min({threads, rows, rows * columns / kMinPerThread}));
    const auto work = [&](int64_t index) {
        for (int64_t row = rows * index / threads; row < rows * (index + 1) / threads; ++row) {
            const uint8_t* source = packed + row * packed_columns;
            uint8_t* target = codes + row * columns;
            for (int64_t start = 0, shift = 0; start < columns; start += packed_columns, shift += width) {
                const int64_t count = std::min(packed_columns, columns - start);
                for (int64_t j = 0; j < count; ++j) target[start + j] = uint8_t(source[j] >> shift) & mask;
            }
        }
    };
    in_shares(threads, work);
}
}
