// Products of 8-bit codes, a tile at a time: what batched.cpp and heads.cpp are made of.
//
// Codes are multiplied four of the contraction at once, as 32-bit words: that is what VNNI's vpdpbusd takes. It wants one
// side signed, so b's codes go in less 128. Without VNNI the same loops are left to the compiler.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

namespace {

constexpr int64_t kRows = 8, kColumns = 32;  // of y, that one call of `multiply` forms in registers
constexpr int64_t kMinMacs = 1 << 20;      // multiply-accumulates, below which a second thread costs more than it brings

inline int64_t padded(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

#if defined(__AVX512F__)
// Words (16, 16) from rows `from` bytes apart to rows `to` bytes apart, rows for columns, xor `flips`.
inline void turn_words(const uint8_t* source, int64_t from, uint8_t* target, int64_t to, uint32_t flips) {
    __m512i a[16], b[16];
    const __m512i flip = _mm512_set1_epi32(int32_t(flips));
    for (int i = 0; i < 16; ++i) a[i] = _mm512_xor_si512(_mm512_loadu_si512(source + i * from), flip);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {  // a[4 r + i] holds column i of each quarter of rows 4 r ..
        const __m512i low = _mm512_shuffle_i32x4(a[i], a[4 + i], 0x44), high = _mm512_shuffle_i32x4(a[i], a[4 + i], 0xee);
        const __m512i low2 = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0x44);
        const __m512i high2 = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0xee);
        _mm512_storeu_si512(target + (i + 0) * to, _mm512_shuffle_i32x4(low, low2, 0x88));
        _mm512_storeu_si512(target + (i + 4) * to, _mm512_shuffle_i32x4(low, low2, 0xdd));
        _mm512_storeu_si512(target + (i + 8) * to, _mm512_shuffle_i32x4(high, high2, 0x88));
        _mm512_storeu_si512(target + (i + 12) * to, _mm512_shuffle_i32x4(high, high2, 0xdd));
    }
}
#endif

// Codes of `count` vectors, `vector` and `step` bytes apart along and across -> [depth / 4][width][4], xor `flip`; what is
// padded is 0.
inline void pack(const uint8_t* source, int64_t count, int64_t vector, int64_t step, int64_t depth, uint8_t flip,
                 int64_t width, uint8_t* packed) {
    // words are put together in the order of a little-endian machine, the only kind that torch is built for
    const int64_t whole = depth / 4, groups = padded(depth, 4) / 4;
    const uint32_t flips = 0x01010101u * flip;
    if (count < width || whole < groups) std::memset(packed, 0, groups * width * 4);
    int64_t done = 0;  // groups
    if (vector == 1) {
        for (; done < whole; ++done) {
            const uint8_t* __restrict first = source + 4 * done * step;
            const uint8_t* __restrict second = first + step;
            const uint8_t* __restrict third = second + step;
            const uint8_t* __restrict fourth = third + step;
            uint32_t* __restrict target = reinterpret_cast<uint32_t*>(packed) + done * width;
            for (int64_t i = 0; i < count; ++i)
                target[i] = (uint32_t(first[i]) | uint32_t(second[i]) << 8 | uint32_t(third[i]) << 16 |
                             uint32_t(fourth[i]) << 24) ^ flips;
        }
    } else if (step == 1) {
        int64_t i = 0;
#if defined(__AVX512F__)
        const int64_t tiled = whole / 16 * 16;
        for (; i + 16 <= count; i += 16) {
            for (int64_t group = 0; group < tiled; group += 16)
                turn_words(source + i * vector + 4 * group, vector, packed + (group * width + i) * 4, 4 * width, flips);
            for (int64_t j = i; j < i + 16; ++j)
                for (int64_t group = tiled; group < whole; ++group) {
                    uint32_t four;
                    std::memcpy(&four, source + j * vector + 4 * group, 4);
                    four ^= flips;
                    std::memcpy(packed + (group * width + j) * 4, &four, 4);
                }
        }
#endif
        for (; i < count; ++i)
            for (int64_t group = 0; group < whole; ++group) {
                uint32_t four;
                std::memcpy(&four, source + i * vector + 4 * group, 4);
                four ^= flips;
                std::memcpy(packed + (group * width + i) * 4, &four, 4);
            }
        done = whole;
    }
    for (int64_t k = 4 * done; k < depth; ++k)
        for (int64_t i = 0; i < count; ++i)
            packed[((k / 4) * width + i) * 4 + k % 4] = source[i * vector + k * step] ^ flip;
}

// Sums over the contraction of packed codes, unsigned or signed.
template <typename Code>
void add_up(const uint8_t* packed, int64_t groups, int64_t width, int32_t* sums) {
    std::fill(sums, sums + width, 0);
    for (int64_t group = 0; group < groups; ++group) {
        const Code* codes = reinterpret_cast<const Code*>(packed + group * width * 4);
        for (int64_t i = 0; i < width; ++i)
            sums[i] += codes[4 * i] + codes[4 * i + 1] + codes[4 * i + 2] + codes[4 * i + 3];
    }
}

// Sums over the contraction of unsigned codes that are multiplied where they lie.
inline void add_up_rows(const uint8_t* source, int64_t count, int64_t vector, int64_t depth, int32_t* sums) {
    for (int64_t i = 0; i < count; ++i) {
        int32_t total = 0;
        for (int64_t k = 0; k < depth; ++k) total += source[i * vector + k];
        sums[i] = total;
    }
}

// kRows x kColumns sums of products. a's words of four codes lie `a_vector` and `a_group` bytes apart.
inline void multiply(const uint8_t* a, int64_t a_vector, int64_t a_group, const uint8_t* b, int64_t b_width,
                     int64_t groups, int32_t* sums) {
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

}  // namespace
