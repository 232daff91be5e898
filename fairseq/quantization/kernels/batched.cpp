// Products of many small matrices of 8-bit codes, with their zero points, scales and shifts: attention's QK^T and PV.
//
//     a[m, k] = sa[m] (ca[m, k] - za[m]) + da[m],   b[n, k] = sb[n] (cb[n, k] - zb[n]) + db[n]
//     y[m, n] = sum_k a[m, k] b[n, k] = sa sb D + sa db A + da (sb B + K db)
//     D = sum_k (ca - za)(cb - zb),   A = sum_k (ca - za),   B = sum_k (cb - zb)             exact, in int32
//
// Both matrices are packed four codes of the contraction to a 32-bit word, which is what VNNI's vpdpbusd multiplies; it
// wants one side signed, so b's codes go in less 128. Without VNNI the same loops are left to the compiler. Any strides.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

#include "threads.h"

namespace {

constexpr int64_t kRows = 8, kColumns = 32;  // of y, that one call of `multiply` forms in registers
constexpr int64_t kLeastWork = 1 << 20;      // multiply-accumulates, below which a second thread costs more than it brings

int64_t padded(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

}  // namespace

extern "C" {

// One side of the product: `count` vectors of codes in each of `batches` matrices.
struct Side {
    const uint8_t* codes;
    int64_t batch, vector, depth;  // strides in codes
    int64_t count;
    const float* scale;
    const int32_t* zero_point;
    const float* shift;  // or null
    int64_t each;        // 1: every vector of every matrix has its own scale, zero point and shift; 0: one for all
};
}

namespace {

// (count, depth) -> [depth / 4][padded count][4], codes xor `flip`; what is padded is 0.
void pack(const Side& side, const uint8_t* source, int64_t depth, uint8_t flip, int64_t width, uint8_t* packed) {
    // words are put together in the order of a little-endian machine, the only kind that torch is built for
    const int64_t count = side.count, whole = depth / 4, groups = padded(depth, 4) / 4;
    const uint32_t flips = 0x01010101u * flip;
    std::memset(packed, 0, groups * width * 4);
    int64_t done = 0;  // groups
    if (side.vector == 1) {
        for (; done < whole; ++done) {
            const uint8_t* __restrict first = source + 4 * done * side.depth;
            const uint8_t* __restrict second = first + side.depth;
            const uint8_t* __restrict third = second + side.depth;
            const uint8_t* __restrict fourth = third + side.depth;
            uint32_t* __restrict target = reinterpret_cast<uint32_t*>(packed) + done * width;
            for (int64_t i = 0; i < count; ++i)
                target[i] = (uint32_t(first[i]) | uint32_t(second[i]) << 8 | uint32_t(third[i]) << 16 |
                             uint32_t(fourth[i]) << 24) ^ flips;
        }
    } else if (side.depth == 1) {
        for (int64_t i = 0; i < count; ++i)
            for (int64_t group = 0; group < whole; ++group) {
                uint32_t four;
                std::memcpy(&four, source + i * side.vector + 4 * group, 4);
                four ^= flips;
                std::memcpy(packed + (group * width + i) * 4, &four, 4);
            }
        done = whole;
    }
    for (int64_t k = 4 * done; k < depth; ++k)
        for (int64_t i = 0; i < count; ++i)
            packed[((k / 4) * width + i) * 4 + k % 4] = source[i * side.vector + k * side.depth] ^ flip;
}

// Sums over the contraction, of unsigned or signed codes.
template <typename Code>
void add_up(const uint8_t* packed, int64_t groups, int64_t width, int32_t* sums) {
    std::fill(sums, sums + width, 0);
    for (int64_t group = 0; group < groups; ++group) {
        const Code* codes = reinterpret_cast<const Code*>(packed + group * width * 4);
        for (int64_t i = 0; i < width; ++i)
            sums[i] += codes[4 * i] + codes[4 * i + 1] + codes[4 * i + 2] + codes[4 * i + 3];
    }
}

// kRows x kColumns sums of products. a's words of four codes lie `a_vector` and `a_group` bytes apart.
void multiply(const uint8_t* a, int64_t a_vector, int64_t a_group, const uint8_t* b, int64_t b_width, int64_t groups,
              int32_t* sums) {
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
    __m512i total[kRows][2];
    for (auto& row : total) row[0] = row[1] = _mm512_setzero_si512();
    for (int64_t group = 0; group < groups; ++group) {
        const __m512i left = _mm512_loadu_si512(b + group * b_width * 4);
        const __m512i right = _mm512_loadu_si512(b + group * b_width * 4 + 64);
        const uint8_t* vectors = a + group * a_group;
#pragma GCC unroll 8
        for (int64_t row = 0; row < kRows; ++row) {
            int32_t four;
            std::memcpy(&four, vectors + a_vector * row, 4);
            const __m512i same = _mm512_set1_epi32(four);
            total[row][0] = _mm512_dpbusd_epi32(total[row][0], same, left);
            total[row][1] = _mm512_dpbusd_epi32(total[row][1], same, right);
        }
    }
    for (int64_t row = 0; row < kRows; ++row) {
        _mm512_storeu_si512(sums + row * kColumns, total[row][0]);
        _mm512_storeu_si512(sums + row * kColumns + 16, total[row][1]);
    }
#else
    std::fill(sums, sums + kRows * kColumns, 0);
    for (int64_t group = 0; group < groups; ++group) {
        const int8_t* columns = reinterpret_cast<const int8_t*>(b + group * b_width * 4);
        const uint8_t* vectors = a + group * a_group;
        for (int64_t row = 0; row < kRows; ++row)
            for (int64_t column = 0; column < kColumns; ++column)
                for (int64_t j = 0; j < 4; ++j)
                    sums[row * kColumns + column] += vectors[a_vector * row + j] * columns[4 * column + j];
    }
#endif
}

// Sums over the contraction of unsigned codes that are multiplied where they lie.
void add_up_rows(const Side& side, const uint8_t* source, int64_t depth, int32_t* sums) {
    for (int64_t i = 0; i < side.count; ++i) {
        int32_t total = 0;
        for (int64_t k = 0; k < depth; ++k) total += source[i * side.vector + k];
        sums[i] = total;
    }
}

// The numbers of one matrix's vectors, one for each of `width`.
void spread(const Side& side, int64_t batch, int32_t less, std::vector<float>& scale, std::vector<int32_t>& zero,
            std::vector<float>& shift) {
    for (int64_t i = 0; i < side.count; ++i) {
        const int64_t at = side.each ? batch * side.count + i : 0;
        scale[i] = side.scale[at];
        zero[i] = side.zero_point[at] - less;
        shift[i] = side.shift ? side.shift[at] : 0.0f;
    }
}

void products(const Side& a, const Side& b, float* y, int64_t first, int64_t last, int64_t depth) {
    const int64_t groups = padded(depth, 4) / 4, rows = padded(a.count, kRows), columns = padded(b.count, kColumns);
    const bool as_it_is = a.depth == 1 && depth % 4 == 0 && a.count % kRows == 0;
    std::vector<uint8_t> a_packed(as_it_is ? 0 : groups * rows * 4), b_packed(groups * columns * 4);
    std::vector<int32_t> a_sums(rows), b_sums(columns), a_zero(rows), b_zero(columns), sums(kRows * kColumns);
    std::vector<float> a_scale(rows), b_scale(columns), a_shift(rows), b_shift(columns);
    const bool shifted = a.shift || b.shift;
    for (int64_t batch = first; batch < last; ++batch) {
        const uint8_t* vectors = as_it_is ? a.codes + batch * a.batch : a_packed.data();
        const int64_t a_vector = as_it_is ? a.vector : 4, a_group = as_it_is ? 4 : 4 * rows;
        if (as_it_is) {
            add_up_rows(a, vectors, depth, a_sums.data());
        } else {
            pack(a, a.codes + batch * a.batch, depth, 0, rows, a_packed.data());
            add_up<uint8_t>(a_packed.data(), groups, rows, a_sums.data());
        }
        pack(b, b.codes + batch * b.batch, depth, 0x80, columns, b_packed.data());
        add_up<int8_t>(b_packed.data(), groups, columns, b_sums.data());
        spread(a, batch, 0, a_scale, a_zero, a_shift);
        spread(b, batch, 128, b_scale, b_zero, b_shift);
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
                    if (!shifted) continue;
                    const float above = a_scale[i] * float(a_sums[i] - int32_t(depth) * a_zero[i]);
                    for (int64_t j = 0; j < width; ++j)
                        row[j] += above * b_shift[n + j] +
                                  a_shift[i] * (b_scale[n + j] * float(b_sums[n + j]) + depth * b_shift[n + j]);
                }
            }
    }
}

}  // namespace

// y (batches, a.count, b.count) in order; 0, or 1 where memory or threads ran out.
extern "C" int coded_products(const Side* a, const Side* b, float* y, int64_t batches, int64_t depth, int64_t threads) {
    try {
        const int64_t work = batches * a->count * b->count * depth;
        threads = std::max<int64_t>(1, std::min({threads, batches, work / kLeastWork}));
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
