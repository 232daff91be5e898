// Products of 8-bit codes as a linear layer has them, with zero points, scales, offsets and bias applied while the sums
// are in registers:
//
//     a[m, k] = sa[m] (ca[m, k] - za[m]) + da[m],   b[n, k] = sb[n] (cb[n, k] - zb[n]) + db[n]
//     y[m, n] = sum_k a[m, k] b[n, k] + bias[n] = sa sb D + sa A db + da (sb B + K db) + bias
//     D = sum_k (ca - za)(cb - zb),   A = sum_k (ca - za),   B = sum_k (cb - zb)             exact, in int32
//
// b's zero point and offset may change along the contraction as well, b = sb (cb - zb - z[k] + d[k]) + db: then D is less
// sum_k (ca - za) z, and y more by sa sb sum_k (ca - za) d + da sb sum_k (d - z).
//
// ca is unsigned and read where it lies; cb is signed and packed (pack.h). A block of kRows x kColumns sums stays in
// registers for the whole contraction: per step two loads of b and kRows of a for 2 kRows dot-product instructions, so
// that these are what the time goes into. a's block is in the first cache then, b's panels in the second.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "pack.h"
#include "threads.h"

extern "C" {

// QParams of one operand: one of each for all (each = 0) or one for every row or column. `offset` may be null. `sums`: of
// the codes over the contraction; for a they may be null, and are then computed where they are needed.
struct OperandQParams {
    const float* scale;
    const int32_t* zero_point;
    const float* offset;
    const int32_t* sums;
    int64_t each;
};

// What b's codes mean along the contraction, or null.
struct DepthQParams {
    const int32_t* zero_point;
    const float* offset;  // in units of b's scale, or null
};

// Columns of a panel; 0 where this processor (or compiler) has no dot products of 8-bit codes.
int64_t panel_columns() { return kColumns; }
}

#if defined(DOT_PRODUCTS)

namespace {

constexpr int64_t kMinMacs = 1 << 21;   // multiply-accumulates, below which a second thread costs more than it brings
constexpr int64_t kPanelsAtOnce = 8;      // of b, that stay in the second cache while a passes by
constexpr int64_t kRowBlocksAtOnce = 24;  // of a

// sums[i][j] += over the contraction; a's words of four codes lie `vector` and `group` bytes apart.
template <bool kPackedLeft>
inline __attribute__((always_inline)) void multiply(const uint8_t* a, int64_t vector, const uint8_t* b, int64_t groups,
                                                    Integers (&sums)[kRows][2]) {
    Integers total[kRows][2];  // of its own: sums that might be elsewhere in memory would be written in each step
#pragma GCC unroll 12
    for (int64_t row = 0; row < kRows; ++row) total[row][0] = total[row][1] = zeros();
    for (int64_t group = 0; group < groups; ++group) {
        const Integers left = load(b), right = load(b + 4 * kLanes);
#pragma GCC unroll 12
        for (int64_t row = 0; row < kRows; ++row) {
            const Integers same = word_everywhere(a + (kPackedLeft ? 4 * row : vector * row));
            total[row][0] = dot(total[row][0], same, left);
            total[row][1] = dot(total[row][1], same, right);
        }
        b += 4 * kColumns;
        a += kPackedLeft ? 4 * kRows : 4;
    }
#pragma GCC unroll 12
    for (int64_t row = 0; row < kRows; ++row) {
        sums[row][0] = total[row][0];
        sums[row][1] = total[row][1];
    }
}

// Where a has one scale and zero point, and b's codes are centred: what zero points take off the sums is the same for
// all rows.
struct Same {
    std::vector<int32_t> less;  // by column
    float scale = 0.0f;
};

// The numbers of all columns, padded to whole panels, and of all rows.
struct Corrections {
    Corrections(const uint8_t* codes, int64_t vector, int64_t depth_stride, const OperandQParams& a,
                const OperandQParams& b, const DepthQParams* depth_qparams, int64_t rows, int64_t columns,
                int64_t depth, const float* bias, int64_t threads)
        : has_offset(a.offset || b.offset), zeros_in_b(false), row_scale(rows), row_zero(rows), row_sums(rows),
          row_above(rows), row_offset(rows), row_less(rows), row_more(rows), scale(padded(columns, kColumns)),
          bias_or_0(scale.size()),
          offset(scale.size()), above(scale.size()), zero(scale.size()), sums(scale.size()) {
        for (int64_t n = 0; n < columns; ++n) {
            const int64_t at = b.each ? n : 0;
            scale[n] = b.scale[at];
            zero[n] = b.zero_point[at];
            zeros_in_b |= zero[n] != 0;
            sums[n] = int32_t(uint32_t(b.sums[n]) - uint32_t(depth) * uint32_t(zero[n]));  // B
            offset[n] = b.offset ? b.offset[at] : 0.0f;
            above[n] = scale[n] * float(sums[n]) + float(depth) * offset[n];
            bias_or_0[n] = bias ? bias[n] : 0.0f;
        }
        if (depth_qparams) {
            float total = 0.0f;
            const float* offsets = depth_qparams->offset;
            for (int64_t k = 0; k < depth; ++k)
                total += (offsets ? offsets[k] : 0.0f) - float(depth_qparams->zero_point[k]);
            for (int64_t n = 0; n < columns; ++n) above[n] += scale[n] * total;
        }
        if (a.sums) std::copy(a.sums, a.sums + rows, row_sums.begin());
        else if (has_offset || zeros_in_b) add_up(codes, vector, depth_stride, rows, depth);
        for (int64_t m = 0; m < rows; ++m) {
            const int64_t at = a.each ? m : 0;
            row_scale[m] = a.scale[at];
            row_zero[m] = a.zero_point[at];
            row_offset[m] = a.offset ? a.offset[at] : 0.0f;
            row_above[m] = row_scale[m] * float(int32_t(uint32_t(row_sums[m]) - uint32_t(depth) * uint32_t(row_zero[m])));
        }
        if (depth_qparams) add_up_weighted(codes, vector, *depth_qparams, rows, depth, threads);
        if (a.each || has_offset || zeros_in_b || depth_qparams) return;
        same.scale = row_scale[0];
        for (int32_t sum : sums) same.less.push_back(int32_t(uint32_t(sum) * uint32_t(row_zero[0])));
    }

    void add_up(const uint8_t* codes, int64_t vector, int64_t depth_stride, int64_t rows, int64_t depth) {
        if (depth_stride == 1) {
            for (int64_t m = 0; m < rows; ++m)
                for (int64_t k = 0; k < depth; ++k) row_sums[m] += codes[m * vector + k];
        } else {
            for (int64_t k = 0; k < depth; ++k)
                for (int64_t m = 0; m < rows; ++m) row_sums[m] += codes[k * depth_stride + m];
        }
    }

    // For codes whose contraction is along memory.
    void add_up_weighted(const uint8_t* codes, int64_t vector, const DepthQParams& depth_qparams, int64_t rows,
                         int64_t depth, int64_t threads) {
        const auto work = [&](int64_t index) {
            for (int64_t m = rows * index / threads; m < rows * (index + 1) / threads; ++m) {
                uint32_t less = 0;
                for (int64_t k = 0; k < depth; ++k)
                    less += uint32_t(int32_t(codes[m * vector + k]) - row_zero[m]) * uint32_t(depth_qparams.zero_point[k]);
                row_less[m] = less;
                if (!depth_qparams.offset) continue;
                constexpr int64_t kParts = 32;  // added side by side
                float parts[kParts] = {}, more = 0.0f;
                const int64_t whole = depth / kParts * kParts;
                for (int64_t k = 0; k < whole; k += kParts)
                    for (int64_t i = 0; i < kParts; ++i)
                        parts[i] += float(int32_t(codes[m * vector + k + i]) - row_zero[m]) * depth_qparams.offset[k + i];
                for (int64_t k = whole; k < depth; ++k)
                    more += float(int32_t(codes[m * vector + k]) - row_zero[m]) * depth_qparams.offset[k];
                for (float part : parts) more += part;
                row_more[m] = row_scale[m] * more;
            }
        };
        in_shares(threads, work);
    }

    bool has_offset, zeros_in_b;
    Same same;
    std::vector<float> row_scale;
    std::vector<int32_t> row_zero, row_sums;
    std::vector<float> row_above, row_offset;
    std::vector<uint32_t> row_less;
    std::vector<float> row_more, scale, bias_or_0, offset, above;
    std::vector<int32_t> zero, sums;
};

// One block of sums to values. GCC's vector types: arithmetic on all lanes.
typedef int32_t Ints __attribute__((vector_size(4 * kLanes), aligned(4)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes), aligned(4)));
typedef float Reals __attribute__((vector_size(4 * kLanes), aligned(4)));

// Smallest and largest of what a thread writes; NaN both if any of it is.
struct Ends {
    Reals low = Reals{} + std::numeric_limits<float>::infinity(), high = -low;
    Words top = Words{};  // of the bits without sign: NaN's are above infinity's

    void see(Reals y) {
        low = y < low ? y : low;
        high = y > high ? y : high;
        const Words bits = (Words)y & 0x7fffffffu;
        top = bits > top ? bits : top;
    }

    void join(const Ends& other) {
        low = other.low < low ? other.low : low;
        high = other.high > high ? other.high : high;
        top = other.top > top ? other.top : top;
    }

    void tell(float* range) const {
        range[0] = low[0];
        range[1] = high[0];
        bool nan = false;
        for (int lane = 0; lane < kLanes; ++lane) {
            range[0] = std::min(range[0], low[lane]);
            range[1] = std::max(range[1], high[lane]);
            nan = nan || top[lane] > 0x7f800000u;
        }
        if (nan) range[0] = range[1] = std::numeric_limits<float>::quiet_NaN();
    }
};

inline __attribute__((always_inline)) void finish(Reals value, int64_t width, float* target, bool streams, Ends* shown) {
    if (shown) {
        if (width == kLanes)
            shown->see(value);
        else
            for (int64_t lane = 0; lane < width; ++lane) shown->see(Reals{} + value[lane]);
    }
    if (streams)
        stream(target, (Floats)value);
    else if (width == kLanes)
        *reinterpret_cast<Reals*>(target) = value;
    else
        std::memcpy(target, &value, 4 * width);
}

inline void write(const Corrections& numbers, const Integers (&sums)[kRows][2], int64_t m, int64_t n, int64_t rows,
                  int64_t columns, float* y, bool streams, Ends* shown) {
    const int64_t height = std::min(kRows, rows - m);
    for (int64_t half = 0; half < 2 && n + half * kLanes < columns; ++half) {
        const int64_t first = n + half * kLanes, width = std::min(kLanes, columns - first);
        const Words zero = *reinterpret_cast<const Words*>(&numbers.zero[first]);
        const Words b_sums = *reinterpret_cast<const Words*>(&numbers.sums[first]);
        const Reals scale = *reinterpret_cast<const Reals*>(&numbers.scale[first]);
        const Reals bias = *reinterpret_cast<const Reals*>(&numbers.bias_or_0[first]);
        const bool same = !numbers.same.less.empty();
        const Words less = same ? *reinterpret_cast<const Words*>(&numbers.same.less[first]) : Words{};
        for (int64_t row = 0; row < height; ++row) {
            Reals value;
            if (same) {
                value = __builtin_convertvector((Ints)((Words)sums[row][half] - less), Reals) * numbers.same.scale * scale + bias;
                finish(value, width, y + (m + row) * columns + first, streams, shown);
                continue;
            }
            // unsigned: it may wrap on the way to a sum that fits
            Words exact = (Words)sums[row][half] - b_sums * uint32_t(numbers.row_zero[m + row]) - numbers.row_less[m + row];
            if (numbers.zeros_in_b) exact -= zero * uint32_t(numbers.row_sums[m + row]);
            value = __builtin_convertvector((Ints)exact, Reals) * numbers.row_scale[m + row];
            value = (value + numbers.row_more[m + row]) * scale;
            if (numbers.has_offset)
                value += *reinterpret_cast<const Reals*>(&numbers.offset[first]) * numbers.row_above[m + row] +
                         *reinterpret_cast<const Reals*>(&numbers.above[first]) * numbers.row_offset[m + row];
            finish(value + bias, width, y + (m + row) * columns + first, streams, shown);
        }
    }
}

// a's codes: where they lie, or packed in blocks of kRows rows, [rows / kRows][depth / 4][kRows][4].
struct Left {
    Left(const uint8_t* codes, int64_t vector, int64_t depth_stride, int64_t rows, int64_t depth, int64_t threads)
        : codes(codes), vector(vector), rows(rows), block_bytes(padded(depth, 4) * kRows) {
        const int64_t blocks = padded(rows, kRows) / kRows, whole = rows / kRows;
        // blocks that can be used as they are need whole words, and no rows beyond the last
        from = depth_stride == 1 && depth % 4 == 0 ? whole : 0;
        packed.reset(new uint8_t[(blocks - from) * block_bytes]);
        if ((blocks - from) * block_bytes < (1 << 17)) threads = 1;
        const auto work = [&](int64_t index) {
            const int64_t count = blocks - from;
            for (int64_t block = from + count * index / threads; block < from + count * (index + 1) / threads; ++block) {
                uint8_t* target = packed.get() + (block - from) * block_bytes;
                const int64_t m = block * kRows, height = std::min(kRows, rows - m);
                if (depth_stride == 1)
                    pack_contiguous(codes + m * vector, vector, depth, height, kRows, 0, target);
                else
                    pack_strided(codes + m, depth_stride, depth, height, rows - m, kRows, 0, target);
            }
        };
        in_shares(threads, work);
    }

    const uint8_t* codes;
    int64_t vector, rows, block_bytes, from;
    std::unique_ptr<uint8_t[]> packed;
};

void multiply_all(const Left& a, const uint8_t* b, const Corrections& numbers, int64_t columns, int64_t depth, float* y,
                  bool streams, float* range, int64_t threads) {
    const int64_t groups = padded(depth, 4) / 4, blocks = padded(a.rows, kRows) / kRows;
    const int64_t panels = padded(columns, kColumns) / kColumns, bytes = panel_bytes(depth);
    // tasks: some blocks of a times some panels of b, evenly cut
    const int64_t tall = std::max<int64_t>(padded(blocks, kRowBlocksAtOnce) / kRowBlocksAtOnce, std::min(threads, blocks));
    const int64_t wide = padded(panels, kPanelsAtOnce) / kPanelsAtOnce;
    const int64_t tasks = tall * wide;
    std::vector<Ends> shown(range ? threads : 0);
    const auto work = [&](int64_t index) {
        Ends mine;
        for (int64_t task = tasks * index / threads; task < tasks * (index + 1) / threads; ++task) {
            const int64_t down = task / wide, right = task % wide;
            const int64_t top = blocks * down / tall, bottom = blocks * (down + 1) / tall;
            // the panels of the next task come into the second cache meanwhile, some with each block
            const int64_t after = panels * (right + 1) / wide, next = std::min(panels, after + kPanelsAtOnce) - after;
            for (int64_t block = top; block < bottom; ++block) {
                const int64_t lines = next * bytes / 64, begin = lines * (block - top) / (bottom - top);
                for (int64_t line = begin; line < lines * (block + 1 - top) / (bottom - top); ++line)
                    _mm_prefetch(reinterpret_cast<const char*>(b + after * bytes + 64 * line), _MM_HINT_T1);
                for (int64_t panel = panels * right / wide; panel < panels * (right + 1) / wide; ++panel) {
                    Integers sums[kRows][2];
                    if (block < a.from)
                        multiply<false>(a.codes + block * kRows * a.vector, a.vector, b + panel * bytes, groups, sums);
                    else
                        multiply<true>(a.packed.get() + (block - a.from) * a.block_bytes, 0, b + panel * bytes, groups,
                                       sums);
                    write(numbers, sums, block * kRows, panel * kColumns, a.rows, columns, y, streams,
                          range ? &mine : nullptr);
                }
            }
        }
        if (streams) _mm_sfence();
        if (range) shown[index] = mine;
    };
    in_shares(threads, work);
    if (!range) return;
    for (const Ends& one : shown) shown[0].join(one);
    shown[0].tell(range);
}

}  // namespace

extern "C" {

int64_t packed_bytes(int64_t columns, int64_t depth) {
    return padded(columns, kColumns) / kColumns * panel_bytes(depth);
}

// Codes of b, one of whose strides is 1, to packed ones; `flip` turns unsigned into signed ones. sums: (columns).
void pack_codes(const uint8_t* codes, int64_t column_stride, int64_t depth_stride, int64_t columns, int64_t depth,
                int32_t flip, uint8_t* packed, int32_t* sums, int64_t threads) {
    const int64_t panels = padded(columns, kColumns) / kColumns, bytes = panel_bytes(depth);
    threads = std::max<int64_t>(1, std::min({threads, panels, columns * depth >> 17}));
    const auto work = [&](int64_t index) {
        for (int64_t panel = panels * index / threads; panel < panels * (index + 1) / threads; ++panel) {
            const int64_t first = panel * kColumns, width = std::min(kColumns, columns - first);
            uint8_t* target = packed + panel * bytes;
            if (depth_stride == 1)
                pack_contiguous(codes + first * column_stride, column_stride, depth, width, kColumns, uint8_t(flip),
                                target);
            else
                pack_strided(codes + first, depth_stride, depth, width, columns - first, kColumns, uint8_t(flip),
                            target);
            int32_t whole[kColumns] = {};
            add_panel(target, padded(depth, 4) / 4, whole);
            std::copy(whole, whole + width, sums + first);
        }
    };
    in_shares(threads, work);
}

// y (rows, columns) in order; 0, or 1 where memory or threads ran out. a's codes have one stride of 1. `streams`: y is
// not read soon, and is written past the caches. range: its smallest and largest value, or null. With `depth_qparams` a's
// rows are contiguous, and b has no offset of its own.
int multiply_codes(const uint8_t* a, int64_t vector, int64_t depth_stride, const OperandQParams* a_qparams,
                   const uint8_t* b, const OperandQParams* b_qparams, const DepthQParams* depth_qparams,
                   const float* bias, float* y, int64_t rows, int64_t columns, int64_t depth, int32_t streams,
                   float* range, int64_t threads) {
    try {
        threads = std::max<int64_t>(1, std::min(threads, rows * columns * depth / kMinMacs));
        const Corrections numbers(a, vector, depth_stride, *a_qparams, *b_qparams, depth_qparams, rows, columns, depth,
                                  bias, threads);
        const Left left(a, vector, depth_stride, rows, depth, threads);
        // whole registers at addresses that are multiples of theirs, or not at all
        const bool fits = columns % kLanes == 0 && reinterpret_cast<uintptr_t>(y) % (4 * kLanes) == 0;
        multiply_all(left, b, numbers, columns, depth, y, streams && fits, range, threads);
        return 0;
    } catch (...) {
        return 1;
    }
}
}

#endif
