// A product of two matrices of codes with one grid each, a few rows at a time, straight to where they belong.
//
//     y = factor (scale D + offsets),   D = sum_k (ca - za)(cb - zb)         offsets: as batched.cpp has them

#pragma once

#include <vector>

#include "grids.h"
#include "tiles.h"

extern "C" {

// A matrix for each head.
struct Matrices {
    float* data;
    int64_t matrix, row;  // distances in numbers; a row's numbers are neighbours
};
}

namespace {

using Bytes = std::vector<uint8_t>;
using Floats = std::vector<float>;

// Numbers that are read, or written, before long: rows of a head are too far apart for a processor to foresee.
template <int writes>
INLINE void fetch(const float* data, int64_t count) {
#if defined(__GNUC__)
    for (int64_t j = 0; j < count; j += kLine) __builtin_prefetch(data + j, writes);
#else
    (void)data, (void)count;
#endif
}

// y (rows, columns) of a (rows, depth) and b (columns, depth), both with one grid.
struct Product {
    int64_t rows = 0, columns = 0, groups = 0, vector = 0, group = 0, width = 0;
    const uint8_t* a = nullptr;
    Bytes a_bytes, b;
    std::vector<int32_t> a_terms, b_terms;  // what zero points take off the sums of products
    Floats a_offsets, b_offsets;              // what offsets add
    float scale = 0.0f, factor = 1.0f;
    bool has_offset = false;

    // a's code (m, k) is at m * a_vector + k * a_step; b's likewise.
    void set(const uint8_t* a_codes, int64_t a_vector, int64_t a_step, const KernelQParams& a_qparams, int64_t a_count,
             const uint8_t* b_codes, int64_t b_vector, int64_t b_step, const KernelQParams& b_qparams, int64_t b_count,
             int64_t depth) {
        rows = a_count, columns = b_count, groups = padded(depth, 4) / 4, width = padded(columns, kColumns);
        const int64_t height = padded(rows, kRows);
        a_terms.resize(height), b_terms.resize(width);
        if (a_step == 1 && depth % 4 == 0 && rows % kRows == 0) {
            a = a_codes, vector = a_vector, group = 4;
            add_up_rows(a, rows, vector, depth, a_terms.data());
        } else {
            a_bytes.resize(groups * height * 4);
            pack(a_codes, rows, a_vector, a_step, depth, 0, height, a_bytes.data());
            a = a_bytes.data(), vector = 4, group = 4 * height;
            add_up<uint8_t>(a, groups, height, a_terms.data());
        }
        b.resize(groups * width * 4);
        pack(b_codes, columns, b_vector, b_step, depth, 0x80, width, b.data());
        add_up<int8_t>(b.data(), groups, width, b_terms.data());
        const int32_t a_zero = a_qparams.zero_point, b_zero = b_qparams.zero_point - 128, long_ = int32_t(depth);
        scale = a_qparams.scale * b_qparams.scale;
        has_offset = a_qparams.offset != 0.0f || b_qparams.offset != 0.0f;
        if (has_offset) {
            a_offsets.resize(height), b_offsets.resize(width);
            for (int64_t i = 0; i < rows; ++i)
                a_offsets[i] = a_qparams.scale * float(a_terms[i] - long_ * a_zero) * b_qparams.offset;
            for (int64_t j = 0; j < columns; ++j)
                b_offsets[j] = a_qparams.offset *
                              (b_qparams.scale * float(b_terms[j] - long_ * b_zero) + float(long_) * b_qparams.offset);
        }
        for (int64_t i = 0; i < rows; ++i) a_terms[i] = int32_t(uint32_t(a_terms[i]) * uint32_t(b_zero));
        for (int64_t j = 0; j < width; ++j)  // B times a's zero point
            b_terms[j] = int32_t(uint32_t(a_zero) * (uint32_t(b_terms[j]) - uint32_t(long_) * uint32_t(b_zero)));
    }

    // Rows m .. m + kRows - 1, or up to the last, to `y` and every `row` numbers behind it.
    void form(int64_t m, float* y, int64_t row) const {
        alignas(64) int32_t sums[kRows * kColumns];
        for (int64_t n = 0; n < columns; n += kColumns) {
            multiply(a + vector * m, vector, group, b.data() + 4 * n, width, groups, sums);
            const int64_t size = std::min(kColumns, columns - n);
            for (int64_t i = 0; i < std::min(kRows, rows - m); ++i) {
                if (size == kColumns) finish(sums + i * kColumns, m + i, n, kColumns, y + i * row + n);
                else finish(sums + i * kColumns, m + i, n, size, y + i * row + n);
            }
        }
    }

    void form_all(const Matrices& y, int64_t head, Lanes* lanes = nullptr) const {
        float* data = y.data + head * y.matrix;
        for (int64_t m = 0; m < rows; m += kRows) {
            form(m, data + m * y.row, y.row);
            for (int64_t i = m; i < std::min(m + kRows, rows); ++i) {
                fetch<1>(data + y.matrix + i * y.row, columns);  // the next head's
                if (lanes) lanes->see(data + i * y.row, columns);
            }
        }
    }

   private:
    inline __attribute__((always_inline)) void finish(const int32_t* __restrict sums, int64_t i, int64_t n, int64_t size,
                                                      float* __restrict y) const {
        // unsigned: it may wrap on the way to a sum that fits
        const uint32_t term = uint32_t(a_terms[i]);
        const int32_t* __restrict terms = b_terms.data() + n;
        for (int64_t j = 0; j < size; ++j)
            y[j] = float(int32_t(uint32_t(sums[j]) - term - uint32_t(terms[j]))) * scale;
        if (has_offset) {
            const float* __restrict offsets = b_offsets.data() + n;
            for (int64_t j = 0; j < size; ++j) y[j] += a_offsets[i] + offsets[j];
        }
        if (factor != 1.0f)
            for (int64_t j = 0; j < size; ++j) y[j] *= factor;
    }
};

}  // namespace
