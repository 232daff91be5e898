// Codes in the order in which int8 dot-product instructions want them, for the right side of a product:
//
//     [columns / kColumns][depth / 4][kColumns][4]          four codes of the contraction to a 32-bit word; what is padded is 0
//
// `kColumns` is two registers of sums, `kRows` the rows of a block of them: together they fill the register file. Without
// such instructions kColumns is 0, and nothing else is there.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__AVX512VNNI__) && defined(__AVX512F__) && defined(__AVX512BW__)
#define DOT_PRODUCTS 1
#include <immintrin.h>
constexpr int64_t kLanes = 16, kRows = 12;
using Integers = __m512i;
using Floats = __m512;
#elif defined(__AVXVNNI__) && defined(__AVX2__)
#define DOT_PRODUCTS 1
#include <immintrin.h>
constexpr int64_t kLanes = 8, kRows = 6;
using Integers = __m256i;
using Floats = __m256;
#else
constexpr int64_t kLanes = 0, kRows = 1;
#endif

constexpr int64_t kColumns = 2 * kLanes;

#if defined(DOT_PRODUCTS)

namespace {

inline int64_t padded(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }
inline int64_t panel_bytes(int64_t depth) { return padded(depth, 4) * kColumns; }

#if defined(__AVX512VNNI__) && defined(__AVX512F__) && defined(__AVX512BW__)
inline Integers zeros() { return _mm512_setzero_si512(); }
inline Integers load(const void* from) { return _mm512_loadu_si512(from); }
inline void store(void* to, Integers x) { _mm512_storeu_si512(to, x); }
inline void stream(float* to, Floats x) { _mm512_stream_ps(to, x); }
inline Integers all(int32_t x) { return _mm512_set1_epi32(x); }
inline Integers dot(Integers sum, Integers unsigned_codes, Integers signed_codes) {
    return _mm512_dpbusd_epi32(sum, unsigned_codes, signed_codes);
}
#else
inline Integers zeros() { return _mm256_setzero_si256(); }
inline Integers load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline void store(void* to, Integers x) { _mm256_storeu_si256(static_cast<__m256i*>(to), x); }
inline void stream(float* to, Floats x) { _mm256_stream_ps(to, x); }
inline Integers all(int32_t x) { return _mm256_set1_epi32(x); }
inline Integers dot(Integers sum, Integers unsigned_codes, Integers signed_codes) {
    return _mm256_dpbusd_avx_epi32(sum, unsigned_codes, signed_codes);
}
#endif

inline Integers word_everywhere(const uint8_t* from) {
    int32_t word;
    std::memcpy(&word, from, 4);
    return all(word);
}

// Sixteen bytes of each of four rows -> sixteen words of four bytes.
inline void interleave(const uint8_t* const (&rows)[4], __m128i flip, uint8_t* words) {
    __m128i row[4];
    for (int i = 0; i < 4; ++i)
        row[i] = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i])), flip);
    const __m128i low = _mm_unpacklo_epi8(row[0], row[1]), high = _mm_unpackhi_epi8(row[0], row[1]);
    const __m128i low_next = _mm_unpacklo_epi8(row[2], row[3]), high_next = _mm_unpackhi_epi8(row[2], row[3]);
    auto* out = reinterpret_cast<__m128i*>(words);
    _mm_storeu_si128(out, _mm_unpacklo_epi16(low, low_next));
    _mm_storeu_si128(out + 1, _mm_unpackhi_epi16(low, low_next));
    _mm_storeu_si128(out + 2, _mm_unpacklo_epi16(high, high_next));
    _mm_storeu_si128(out + 3, _mm_unpackhi_epi16(high, high_next));
}

// One word: four codes of one column, `stride` apart, of which `left` are there.
inline void gather_word(const uint8_t* from, int64_t stride, int64_t left, uint8_t flip, uint8_t* word) {
    for (int64_t j = 0; j < 4; ++j) word[j] = j < left ? uint8_t(from[j * stride] ^ flip) : uint8_t(0);
}

// Groups of four rows of `codes`, in which columns are neighbours -> words of `width` columns, of which `columns` are
// there, and `readable` (or more) may be read. The source has `depth` rows.
inline void pack_strided(const uint8_t* codes, int64_t row_stride, int64_t depth, int64_t columns, int64_t readable,
                        int64_t width, uint8_t flip, uint8_t* packed) {
    const __m128i flips = _mm_set1_epi8(char(flip));
    const int64_t groups = padded(depth, 4) / 4;
    for (int64_t group = 0; group < groups; ++group, packed += 4 * width) {
        const uint8_t* first = codes + 4 * group * row_stride;
        int64_t column = 0;
        if (4 * group + 4 <= depth)
            for (; column < columns && column + 16 <= readable; column += 16) {
                const uint8_t* const rows[4] = {first + column, first + row_stride + column,
                                                first + 2 * row_stride + column, first + 3 * row_stride + column};
                // what is too much falls into places that are written later, but not behind the last group
                const bool fits = 4 * column + 64 <= 4 * width * (groups - group);
                if (column + 16 <= columns || (columns == width && fits)) {
                    interleave(rows, flips, packed + 4 * column);
                } else {
                    uint8_t words[64];
                    interleave(rows, flips, words);
                    std::memcpy(packed + 4 * column, words, 4 * (columns - column));
                }
            }
        for (; column < columns; ++column)
            gather_word(first + column, row_stride, depth - 4 * group, flip, packed + 4 * column);
        if (columns < width) std::memset(packed + 4 * columns, 0, 4 * (width - columns));
    }
}

// The same where the contraction is along memory: `codes` has `columns` rows of `depth` neighbours.
inline void pack_contiguous(const uint8_t* codes, int64_t row_stride, int64_t depth, int64_t columns, int64_t width,
                       uint8_t flip, uint8_t* packed) {
    const int64_t groups = padded(depth, 4) / 4;
    const __m128i flips = _mm_set1_epi8(char(flip));
    const auto at = [&](int64_t column, int64_t group) {
        return _mm_castsi128_ps(_mm_xor_si128(flips, _mm_loadu_si128(reinterpret_cast<const __m128i*>(
                                                         codes + column * row_stride + 4 * group))));
    };
    int64_t column = 0;
    for (; column + 4 <= columns; column += 4) {
        int64_t group = 0;
        for (; 4 * group + 16 <= depth; group += 4) {  // 4 x 4 words are turned
            __m128 words[4] = {at(column, group), at(column + 1, group), at(column + 2, group), at(column + 3, group)};
            _MM_TRANSPOSE4_PS(words[0], words[1], words[2], words[3]);
            for (int64_t i = 0; i < 4; ++i)
                _mm_storeu_ps(reinterpret_cast<float*>(packed + 4 * ((group + i) * width + column)), words[i]);
        }
        for (; group < groups; ++group)
            for (int64_t i = column; i < column + 4; ++i)
                gather_word(codes + i * row_stride + 4 * group, 1, depth - 4 * group, flip,
                            packed + 4 * (group * width + i));
    }
    for (; column < width; ++column)
        for (int64_t group = 0; group < groups; ++group)
            gather_word(codes + column * row_stride + 4 * group, 1, column < columns ? depth - 4 * group : 0, flip,
                        packed + 4 * (group * width + column));
}

// Adds the sums over `groups` groups of a panel to `sums` (kColumns).
inline void add_panel(const uint8_t* packed, int64_t groups, int32_t* sums) {
    Integers first = load(sums), second = load(sums + kLanes);
    const Integers ones = all(0x01010101);
    for (int64_t group = 0; group < groups; ++group) {
        first = dot(first, ones, load(packed + 4 * kColumns * group));
        second = dot(second, ones, load(packed + 4 * kColumns * group + 4 * kLanes));
    }
    store(sums, first);
    store(sums + kLanes, second);
}

}  // namespace

#endif
