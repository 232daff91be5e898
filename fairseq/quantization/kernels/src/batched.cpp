// Products of many small matrices of 8-bit codes, with their zero points, scales and offsets: attention's QK^T and PV.
//
//     a[m, k] = sa[m] (ca[m, k] - za[m]) + da[m],   b[n, k] = sb[n] (cb[n, k] - zb[n]) + db[n]
//     y[m, n] = sum_k a[m, k] b[n, k] = sa sb D + sa db A + da (sb B + K db)
//     D = sum_k (ca - za)(cb - zb),   A = sum_k (ca - za),   B = sum_k (cb - zb)             exact, in int32
//
// Any strides.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "threads.h"
#include "tiles.h"

extern "C" {

// One side of the product: `count` vectors of codes in each of `batches` matrices.
struct Side {
    const uint8_t* codes;
    int64_t batch, vector, depth;  // strides in codes
    int64_t count;
    const float* scale;
    const int32_t* zero_point;
    const float* offset;  // or null
    int64_t each;        // 1: every vector of every matrix has its own scale, zero point and offset; 0: one for all
};
}

namespace {

// The numbers of one matrix's vectors, one for each of `width`.
void spread(const Side& side, int64_t batch, int32_t less, std::vector<float>& scale, std::vector<int32_t>& zero,
            std::vector<float>& offset) {
    for (int64_t i = 0; i < side.count; ++i) {
        const int64_t at = side.each ? batch * side.count + i : 0;
        scale[i] = side.scale[at];
        zero[i] = side.zero_point[at] - less;
        offset[i] = side.offset ? side.offset[at] : 0.0f;
    }
}

void products(const Side& a, const Side& b, float* y, int64_t first, int64_t last, int64_t depth) {
    const int64_t groups = padded(depth, 4) / 4, rows = padded(a.count, kRows), columns = padded(b.count, kColumns);
    const bool as_it_is = a.depth == 1 && depth % 4 == 0 && a.count % kRows == 0;
    std::vector<uint8_t> a_packed(as_it_is ? 0 : groups * rows * 4), b_packed(groups * columns * 4);
    std::vector<int32_t> a_sums(rows), b_sums(columns), a_zero(rows), b_zero(columns), sums(kRows * kColumns);
    std::vector<float> a_scale(rows), b_scale(columns), a_offset(rows), b_offset(columns);
    const bool has_offset = a.offset || b.offset;
    for (int64_t batch = first; batch < last; ++batch) {
        const uint8_t* vectors = as_it_is ? a.codes + batch * a.batch : a_packed.data();
        const int64_t a_vector = as_it_is ? a.vector : 4, a_group = as_it_is ? 4 : 4 * rows;
        if (as_it_is) {
            add_up_rows(vectors, a.count, a_vector, depth, a_sums.data());
        } else {
            pack(a.codes + batch * a.batch, a.count, a.vector, a.depth, depth, 0, rows, a_packed.data());
            add_up<uint8_t>(a_packed.data(), groups, rows, a_sums.data());
        }
        pack(b.codes + batch * b.batch, b.count, b.vector, b.depth, depth, 0x80, columns, b_packed.data());
        add_up<int8_t>(b_packed.data(), groups, columns, b_sums.data());
        spread(a, batch, 0, a_scale, a_zero, a_offset);
        spread(b, batch, 128, b_scale, b_zero, b_offset);
        for (int64_t i = 0; i < b.count; ++i) b_sums[i] -= int32_t(depth) * b_zero[i];  // B
        for (int64_t n = 0; n < b.count; n += kColumns)
            for (int64_t m = 0; m < a.count; m += kRows) {
                multiply(vectors + a_vector * m, a_vector, a_group, b_packed.data() + 4 * n, columns, groups,
                         sums.data());
                const int64_t width = std::min(kColumns, b.count - n);
                for (int64_t i = m; i < std::min(m + kRows, a.count); ++i) {
                    const int32_t* found = sums.data() + (i - m) * kColumns;
                    float* row = y + (batch * a.count + i) * b.count + n;
                    // unsigned: it may wrap on the way to a sum that fits
                    const uint32_t codes = a_sums[i], zero = a_zero[i];
                    for (int64_t j = 0; j < width; ++j) {
                        const uint32_t exact =
                            uint32_t(found[j]) - codes * uint32_t(b_zero[n + j]) - zero * uint32_t(b_sums[n + j]);
                        row[j] = float(int32_t(exact)) * (a_scale[i] * b_scale[n + j]);
                    }
                    if (!has_offset) continue;
                    const float above = a_scale[i] * float(a_sums[i] - int32_t(depth) * a_zero[i]);
                    for (int64_t j = 0; j < width; ++j)
                        row[j] += above * b_offset[n + j] +
                                  a_offset[i] * (b_scale[n + j] * float(b_sums[n + j]) + depth * b_offset[n + j]);
                }
            }
    }
}

}  // namespace

// y (batches, a.count, b.count) in order; 0, or 1 where memory or threads ran out.
extern "C" int coded_products(const Side* a, const Side* b, float* y, int64_t batches, int64_t depth, int64_t threads) {
    try {
        const int64_t work = batches * a->count * b->count * depth;
        threads = std::max<int64_t>(1, std::min({threads, batches, work / kMinMacs}));
        const auto share = [&](int64_t index) { return batches * index / threads; };
        std::vector<int> failures(threads, 0);
        const auto run = [&](int64_t index) {
            try {
                products(*a, *b, y, share(index), share(index + 1), depth);
            } catch (...) {
                failures[index] = 1;
            }
        };
        in_shares(threads, run);
        return *std::max_element(failures.begin(), failures.end());
    } catch (...) {
        return 1;
    }
}
