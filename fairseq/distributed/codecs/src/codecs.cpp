// Codes of tensors that travel: groups with a scale and a zero point, parts of equal mass, the largest values, Hadamard.
//
// Every function gives, bit for bit, what the torch operations beside its caller give; so products and sums are rounded
// one by one, never fused. Codes of b bits follow each other without gaps, the first in the lowest bits.

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "vectors.h"

namespace {

constexpr int64_t kPiece = 4096;  // codes that are in cache between quantizing and packing; a multiple of 8
constexpr int kInfinite = 0x7f800000;
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Codes __attribute__((vector_size(2 * kLanes)));

#define EXPORT extern "C" __attribute__((visibility("default")))

INLINE Floats load_rest(const float* x, int64_t count) {  // filled up with zeros
    float some[kLanes] = {};
    std::memcpy(some, x, count * sizeof(float));
    return load(some);
}

// --- packing ---------------------------------------------------------------------------------------------------------

template <int kBits>
void pack(const uint16_t* codes, int64_t count, uint8_t* out) {
    int64_t i = 0;
    if constexpr (kBits == 8) {
        for (; i < count; ++i) out[i] = uint8_t(codes[i]);
        return;
    } else if constexpr (kBits == 16) {
        std::memcpy(out, codes, count * 2);
        return;
    } else if constexpr (kBits == 4) {
        for (; i + 2 <= count; i += 2) out[i / 2] = uint8_t(codes[i] | codes[i + 1] << 4);
        if (i < count) out[i / 2] = uint8_t(codes[i]);
        return;
    }
    for (; i < count; i += 8) {
        unsigned __int128 word = 0;
        const int64_t some = std::min<int64_t>(8, count - i);
        if (some == 8) {
            uint64_t low = 0, high = 0;
            for (int j = 0; j < 4; ++j) {
                low |= uint64_t(codes[i + j]) << (kBits * j);
                high |= uint64_t(codes[i + 4 + j]) << (kBits * j);
            }
            word = low | (unsigned __int128)(high) << (4 * kBits);
            std::memcpy(out + i / 8 * kBits, &word, kBits);
        } else {
            for (int j = 0; j < some; ++j) word |= (unsigned __int128)(codes[i + j]) << (kBits * j);
            std::memcpy(out + i / 8 * kBits, &word, (some * kBits + 7) / 8);
        }
    }
}

template <int kBits>
void unpack(const uint8_t* in, int64_t count, uint16_t* codes) {
    int64_t i = 0;
    if constexpr (kBits == 8) {
        for (; i < count; ++i) codes[i] = in[i];
        return;
    } else if constexpr (kBits == 16) {
        std::memcpy(codes, in, count * 2);
        return;
    } else if constexpr (kBits == 4) {
        for (; i + 2 <= count; i += 2) {
            codes[i] = in[i / 2] & 15;
            codes[i + 1] = in[i / 2] >> 4;
        }
        if (i < count) codes[i] = in[i / 2] & 15;
        return;
    }
    constexpr uint32_t mask = (1u << kBits) - 1;
    for (; i < count; i += 8) {
        unsigned __int128 word = 0;
        const int64_t some = std::min<int64_t>(8, count - i);
        std::memcpy(&word, in + i / 8 * kBits, (some * kBits + 7) / 8);
        const uint64_t low = uint64_t(word), high = uint64_t(word >> (4 * kBits));
        for (int j = 0; j < some; ++j) codes[i + j] = uint16_t(((j < 4 ? low : high) >> (kBits * (j & 3))) & mask);
    }
}

typedef void (*Pack)(const uint16_t*, int64_t, uint8_t*);
typedef void (*Unpack)(const uint8_t*, int64_t, uint16_t*);
#define EACH(f) f<1>, f<2>, f<3>, f<4>, f<5>, f<6>, f<7>, f<8>, f<9>, f<10>, f<11>, f<12>, f<13>, f<14>, f<15>, f<16>
const Pack kPack[] = {EACH(pack)};
const Unpack kUnpack[] = {EACH(unpack)};

// --- groups ----------------------------------------------------------------------------------------------------------

// The extremes of a group with 0, and the largest bits without sign.
struct Extremes {
    Floats low = all(0.0f), high = all(0.0f);
    Ints top = Ints{};

    INLINE void see(Extremes& e, Floats y) {
        e.low = y < e.low ? y : e.low;
        e.high = y > e.high ? y : e.high;
        const Ints magnitude = as<Ints>(y) & 0x7fffffff;
        e.top = magnitude > e.top ? magnitude : e.top;
    }
};

// A group's word: the zero point in the lowest `bits` bits, above them the leading bits of the scale, rounded up.
uint32_t word_of(const float* x, int64_t count, int bits) {
    Extremes e;
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) Extremes::see(e, load(x + i));
    if (i < count) Extremes::see(e, load_rest(x + i, count - i));
    float lows[kLanes], highs[kLanes];
    int tops[kLanes];
    std::memcpy(lows, &e.low, sizeof(lows));
    std::memcpy(highs, &e.high, sizeof(highs));
    std::memcpy(tops, &e.top, sizeof(tops));
    for (int half = kLanes / 2; half; half /= 2)
        for (int j = 0; j < half; ++j) {
            lows[j] = lows[j + half] < lows[j] ? lows[j + half] : lows[j];
            highs[j] = highs[j + half] > highs[j] ? highs[j + half] : highs[j];
            tops[j] = tops[j + half] > tops[j] ? tops[j + half] : tops[j];
        }
    const uint32_t mask = (1u << bits) - 1;
    if (tops[0] >= kInfinite) return 0x7fffffffu & ~mask;  // NaN
    const float most = float(mask);
    const float scale = highs[0] / most - lows[0] / most;
    if (scale < 0x1p-126f) return 0;
    const uint32_t rounded = (as<uint32_t>(scale) + mask) & ~mask;
    if (rounded >= uint32_t(kInfinite)) return 0x7fffffffu & ~mask;
    const float zero = std::rint(-lows[0] / as<float>(rounded));
    return rounded | uint32_t(std::min(zero, most));
}

INLINE Words noise_bits(uint32_t index, uint32_t seed) {
    Words lane;
    for (int j = 0; j < kLanes; ++j) lane[j] = j;
    Words h = (lane + index) * 0x9E3779B1u + seed;
    h ^= h >> 16;
    h *= 0x21f0aaadu;
    h ^= h >> 15;
    h *= 0x735a2d97u;
    h ^= h >> 15;
    return h;
}

template <bool kStochastic>
void quantize(const float* x, int64_t count, uint32_t word, int bits, uint32_t index, uint32_t seed, uint16_t* codes) {
    const uint32_t mask = (1u << bits) - 1;
    const float scale = as<float>(word & ~mask);
    const Floats inverse = all(scale > 0 ? 1.0f / scale : 0.0f);
    const Ints zero = Ints{} + int(word & mask), least = Ints{}, most = Ints{} + int(mask);
    const auto codes_of = [&](Floats y, int64_t i) {
        y = y * inverse;
        if (kStochastic) y = y + floats(as<Ints>(noise_bits(index + uint32_t(i), seed))) * 0x1p-32f;
        Ints code = nearest(y) + zero;
        code = code < least ? least : code;
        code = code > most ? most : code;
        return __builtin_convertvector(code, Codes);
    };
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        const Codes code = codes_of(load(x + i), i);
        std::memcpy(codes + i, &code, sizeof(code));
    }
    if (i < count) {
        const Codes code = codes_of(load_rest(x + i, count - i), i);
        std::memcpy(codes + i, &code, (count - i) * sizeof(uint16_t));
    }
}

void dequantize(const uint16_t* codes, int64_t count, uint32_t word, int bits, float* y) {
    const uint32_t mask = (1u << bits) - 1;
    const float scale = as<float>(word & ~mask);
    const int zero = int(word & mask);
    for (int64_t i = 0; i < count; ++i) y[i] = float(int(codes[i]) - zero) * scale;
}

uint16_t key_of(float x) {  // the leading half of a number's bits, ascending with it; -0 is 0
    const uint32_t bits = as<uint32_t>(x + 0.0f);
    return uint16_t((bits >> 31 ? ~bits : bits | 0x80000000u) >> 16);
}

}  // namespace

EXPORT void group_encode(
    const float* x, int64_t count, int64_t group, int bits, int stochastic, uint32_t seed, uint32_t* words, uint8_t* out) {
    uint16_t codes[kPiece];
    const auto run = stochastic ? quantize<true> : quantize<false>;
    for (int64_t start = 0; start < count; start += kPiece) {
        const int64_t end = std::min(start + kPiece, count);
        for (int64_t i = start; i < end;) {
            const int64_t number = i / group, first = number * group;
            if (i == first) words[number] = word_of(x + i, std::min(group, count - i), bits);
            const int64_t stop = std::min(first + group, end);
            run(x + i, stop - i, words[number], bits, uint32_t(i), seed, codes + (i - start));
            i = stop;
        }
        kPack[bits - 1](codes, end - start, out + start / 8 * bits);
    }
}

EXPORT void group_decode(const uint32_t* words, const uint8_t* in, int64_t count, int64_t group, int bits, float* y) {
    uint16_t codes[kPiece];
    for (int64_t start = 0; start < count; start += kPiece) {
        const int64_t end = std::min(start + kPiece, count);
        kUnpack[bits - 1](in + start / 8 * bits, end - start, codes);
        for (int64_t i = start; i < end;) {
            const int64_t number = i / group, stop = std::min((number + 1) * group, end);
            dequantize(codes + (i - start), stop - i, words[number], bits, y + i);
            i = stop;
        }
    }
}

// Codes `part << level_bits | level`. `part_of` has a part for each of the 65536 keys; `ends` gets least and step.
EXPORT void quantile_encode(
    const float* x, int64_t count, const uint8_t* part_of, int parts, int level_bits, int bits, float* ends,
    uint8_t* out) {
    std::vector<float> low(parts, INFINITY), high(parts, -INFINITY), inverse(parts);
    std::vector<char> broken(parts, 0);
    std::vector<uint8_t> part(count);
    for (int64_t i = 0; i < count; ++i) {
        const uint8_t p = part[i] = part_of[key_of(x[i])];
        low[p] = x[i] < low[p] ? x[i] : low[p];
        high[p] = x[i] > high[p] ? x[i] : high[p];
        if ((as<int>(x[i]) & 0x7fffffff) >= kInfinite) broken[p] = 1;
    }
    const float most = float((1 << level_bits) - 1);
    for (int p = 0; p < parts; ++p) {
        float least = low[p] + 0.0f, step = (high[p] - low[p]) / most;
        if (low[p] > high[p]) least = step = 0.0f;  // an empty part
        if (!(step >= 0x1p-126f)) step = 0.0f;
        if (broken[p]) least = NAN, step = 0.0f;
        ends[2 * p] = low[p] = least;
        ends[2 * p + 1] = step;
        inverse[p] = step > 0 ? 1.0f / step : 0.0f;
    }
    uint16_t codes[kPiece];
    for (int64_t start = 0; start < count; start += kPiece) {
        const int64_t end = std::min(start + kPiece, count);
        for (int64_t i = start; i < end; ++i) {
            const uint8_t p = part[i];
            const float level = (x[i] - low[p]) * inverse[p];
            const float held = level > 0 ? std::min(level, most) : 0.0f;
            codes[i - start] = uint16_t(p << level_bits | int(std::rint(held)));
        }
        kPack[bits - 1](codes, end - start, out + start / 8 * bits);
    }
}

EXPORT void table_decode(const uint8_t* in, int64_t count, int bits, const float* table, float* y) {
    uint16_t codes[kPiece];
    for (int64_t start = 0; start < count; start += kPiece) {
        const int64_t end = std::min(start + kPiece, count);
        kUnpack[bits - 1](in + start / 8 * bits, end - start, codes);
        for (int64_t i = start; i < end; ++i) y[i] = table[codes[i - start]];
    }
}

// One bit for each of the `kept` largest magnitudes; of equal ones the first are taken.
EXPORT void largest(const float* x, int64_t count, int64_t kept, uint8_t* bitmap) {
    std::vector<uint32_t> counts(65536, 0);
    for (int64_t i = 0; i < count; ++i) ++counts[(as<uint32_t>(x[i]) & 0x7fffffffu) >> 15];
    int64_t above = 0;
    int key = 65535;
    while (key > 0 && above + counts[key] < kept) above += counts[key--];
    std::vector<uint32_t> candidates;
    candidates.reserve(counts[key]);
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t magnitude = as<uint32_t>(x[i]) & 0x7fffffffu;
        if (int(magnitude >> 15) == key) candidates.push_back(magnitude);
    }
    uint32_t threshold = 0x80000000u;  // above every magnitude
    int64_t equal = 0;
    if (kept > 0) {
        const auto nth = candidates.begin() + (kept - above - 1);
        std::nth_element(candidates.begin(), nth, candidates.end(), [](uint32_t a, uint32_t b) { return a > b; });
        threshold = *nth;
        equal = kept - above - std::count_if(candidates.begin(), nth, [&](uint32_t m) { return m > threshold; });
    }
    for (int64_t start = 0; start < count; start += 8) {
        const int64_t some = std::min<int64_t>(8, count - start);
        uint32_t above_bits = 0, equal_bits = 0;
        for (int64_t j = 0; j < some; ++j) {
            const uint32_t magnitude = as<uint32_t>(x[start + j]) & 0x7fffffffu;
            above_bits |= uint32_t(magnitude > threshold) << j;
            equal_bits |= uint32_t(magnitude == threshold) << j;
        }
        for (int64_t j = 0; equal_bits && equal > 0 && j < some; ++j)
            if (equal_bits >> j & 1) above_bits |= 1u << j, --equal;
        bitmap[start / 8] = uint8_t(above_bits);
    }
}

EXPORT void count_marked(const uint8_t* bitmap, int64_t count, int64_t* marked) {
    int64_t total = 0;
    for (int64_t i = 0; i < count / 8; ++i) total += __builtin_popcount(bitmap[i]);
    if (count % 8) total += __builtin_popcount(bitmap[count / 8] & ((1u << count % 8) - 1));
    *marked = total;
}

// `values` has room for one more than are marked.
EXPORT void gather_marked(const float* x, const uint8_t* bitmap, int64_t count, float* values) {
    for (int64_t i = 0; i < count; ++i) {
        *values = x[i];
        values += bitmap[i / 8] >> (i % 8) & 1;
    }
}

// y is zero where no bit is set. One more than the marked values can be read.
EXPORT void scatter_marked(const float* values, const uint8_t* bitmap, int64_t count, float* y) {
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t taken = bitmap[i / 8] >> (i % 8) & 1;
        y[i] = as<float>(as<uint32_t>(*values) & (0u - taken));
        values += taken;
    }
}

// In place, for blocks of `size`, a power of two.
EXPORT void hadamard(float* x, int64_t count, int64_t size, float factor) {
    for (int64_t block = 0; block < count; block += size) {
        float* y = x + block;
        for (int64_t half = 1; half < size; half *= 2)
            for (int64_t i = 0; i < size; i += 2 * half)
                for (int64_t j = i; j < i + half; ++j) {
                    const float a = y[j], b = y[j + half];
                    y[j] = a + b;
                    y[j + half] = a - b;
                }
        for (int64_t j = 0; j < size; ++j) y[j] *= factor;
    }
}
