// GELU and its slope in one pass, with the smallest and largest value of what is written.
//
//     gelu(x) = x Phi(x) = x / 2 + |x| odd(|x|),               odd(a) = Phi(a) - 1/2
//     gelu'(x) = Phi(x) + x phi(x) = 1/2 + sign(x) rise(|x|),  rise(a) = Phi(a) - 1/2 + a phi(a)
//
// Both functions of a go to 1/2. Each is a polynomial of degree 5 on each of 15 pieces of [0, 6], which interpolates it at
// Chebyshev's points to 5e-8, and 1/2 beyond. AVX512 has the instruction that looks up 16 coefficients at once; without it
// the results are the same, but slower than torch's.

#include <algorithm>
#include <cmath>
#include <vector>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "threads.h"
#include "vectors.h"

namespace {

constexpr int64_t kMinPerThread = 1 << 16;
constexpr float kSteps = 16384;   // of a slope, in 1
constexpr int16_t kNan = -32768;  // stands for a slope that is none
constexpr int kPieces = 16, kTerms = 6;
constexpr float kDensity = 2.4f;  // pieces in 1; piece i is around i / kDensity

// Coefficients of the powers of a * kDensity - i on the pieces.
struct Table {
    alignas(64) float of_power[kTerms][kPieces];

    template <typename Function>
    explicit Table(const Function& function) {
        double node[kTerms];
        for (int k = 0; k < kTerms; ++k) node[k] = 0.5 * std::cos(std::acos(-1.0) * (2 * k + 1) / (2 * kTerms));
        for (int piece = 0; piece < kPieces; ++piece) {
            double difference[kTerms];  // Newton's, which become the powers' coefficients
            for (int k = 0; k < kTerms; ++k) difference[k] = function((piece + node[k]) / double(kDensity));
            for (int order = 1; order < kTerms; ++order)
                for (int k = kTerms - 1; k >= order; --k)
                    difference[k] = (difference[k] - difference[k - 1]) / (node[k] - node[k - order]);
            for (int order = kTerms - 2; order >= 0; --order)
                for (int k = order; k < kTerms - 1; ++k) difference[k] -= node[order] * difference[k + 1];
            const bool last = piece == kPieces - 1;
            for (int k = 0; k < kTerms; ++k) of_power[k][piece] = last ? (k ? 0.0f : 0.5f) : float(difference[k]);
        }
    }
};

double odd(double a) { return 0.5 * std::erf(a * std::sqrt(0.5)); }
double rise(double a) { return odd(a) + a * std::exp(-0.5 * a * a) / std::sqrt(2 * std::acos(-1.0)); }

const Table& odd_table() {
    static const Table table(odd);
    return table;
}

const Table& rise_table() {
    static const Table table(rise);
    return table;
}

// Where in a table |x| lies.
struct Place {
    Ints piece;
    Floats part;
};

INLINE Floats magnitude(Floats x) { return as<Floats>(as<Ints>(x) & 0x7fffffff); }

INLINE Place place(Floats magnitude) {
    const Floats shift = all(12582912.0f);  // 1.5 * 2^23: what is added to it is rounded to a whole number
    const Floats most = all((kPieces - 1) / kDensity);
    const Floats a = magnitude > most ? most : magnitude;
    const Floats shifted = a * kDensity + shift;
    return {as<Ints>(shifted) & (kPieces - 1), a * kDensity - (shifted - shift)};
}

INLINE Floats looked_up(const float* table, Ints piece) {
#if defined(__AVX512F__)
    return Floats(_mm512_permutexvar_ps(__m512i(piece), _mm512_load_ps(table)));
#else
    Floats found;
    for (int lane = 0; lane < kLanes; ++lane) found[lane] = table[piece[lane]];
    return found;
#endif
}

INLINE Floats evaluate(const Table& table, const Place& at) {
    Floats y = looked_up(table.of_power[kTerms - 1], at.piece);
    for (int k = kTerms - 2; k >= 0; --k) y = y * at.part + looked_up(table.of_power[k], at.piece);
    return y;
}

INLINE Floats slope(Floats x, const Table& rises, const Place& at) {
    const Ints sign = as<Ints>(x) & int32_t(0x80000000);
    return as<Floats>(as<Ints>(evaluate(rises, at)) ^ sign) + 0.5f;
}

INLINE Shorts coded(Floats slope) { return narrowed(slope != slope ? Ints{} + kNan : nearest(slope * kSteps)); }

INLINE Floats decoded(Shorts slope) {
    const Ints code = widened(slope);
    return code == kNan ? all(std::numeric_limits<float>::quiet_NaN()) : floats(code) * (1 / kSteps);
}

// piece(begin, end, ends) for shares of [0, count), in whole vectors but for the last; the range of all of them.
template <typename Piece>
void in_pieces(int64_t count, int64_t threads, float* range, const Piece& piece) {
    threads = std::max<int64_t>(1, std::min(threads, count / kMinPerThread));
    const auto from = [&](int64_t index) { return index == threads ? count : count * index / threads / 64 * 64; };
    std::vector<Range> found(static_cast<size_t>(threads));
    in_shares(threads, [&](int64_t index) {
        Ends ends;
        piece(from(index), from(index + 1), ends);
        found[size_t(index)] = Range::of(ends);
    });
    for (size_t index = 1; index < found.size(); ++index) found[0].join(found[index]);
    range[0] = found[0].low;
    range[1] = found[0].high;
}

// The last few of an array as a vector, its last element repeated.
template <typename Vector, typename T>
Vector rest(const T* from, int64_t count) {
    T padded[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) padded[i] = from[std::min(i, count - 1)];
    return load(padded);
}

template <typename T, typename Vector>
void store_rest(T* to, Vector x, int64_t count) {
    std::memcpy(to, &x, size_t(count) * sizeof(T));
}

template <bool slopes>
void forward(const float* x, float* y, int16_t* codes, int64_t begin, int64_t end, Ends& shown) {
    const Table &odds = odd_table(), &rises = rise_table();
    Ends ends = shown;
    const auto both = [&](Floats in, Shorts& code) {
        const Floats a = magnitude(in);
        const Place at = place(a);
        const Floats out = in * 0.5f + a * evaluate(odds, at);
        if (slopes) code = coded(slope(in, rises, at));
        Ends::see(ends, out);
        return out;
    };
    Shorts code{};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
        store(y + i, both(load(x + i), code));
        if (slopes) store(codes + i, code);
    }
    if (i < end) {
        store_rest(y + i, both(rest<Floats>(x + i, end - i), code), end - i);
        if (slopes) store_rest(codes + i, code, end - i);
    }
    shown = ends;
}

INLINE Floats slope_of(Floats x, const Table& rises) { return slope(x, rises, place(magnitude(x))); }
INLINE Floats slope_of(Shorts code, const Table&) { return decoded(code); }

// grad times the slope, which is that at x (floats) or was kept (codes).
template <typename T>
void backward(const float* grad, const T* kept, float* out, int64_t begin, int64_t end, Ends& shown) {
    using Vector = decltype(load(kept));
    const Table& rises = rise_table();
    Ends ends = shown;
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
        const Floats y = load(grad + i) * slope_of(load(kept + i), rises);
        store(out + i, y);
        Ends::see(ends, y);
    }
    if (i < end) {
        const Floats y = rest<Floats>(grad + i, end - i) * slope_of(rest<Vector>(kept + i, end - i), rises);
        store_rest(out + i, y, end - i);
        Ends::see(ends, y);
    }
    shown = ends;
}

INLINE Floats value(Floats in, const Table& odds) {
    const Floats a = magnitude(in);
    return in * 0.5f + a * evaluate(odds, place(a));
}

// How values become codes: code = round(clamp((y - zero) * factor, low, high)) + offset; or y - zero is divided by factor.
struct Coding {
    float zero, factor, low, high;
    int32_t offset, divides;
};

// `bad`: lanes in which a value was NaN, which no code stands for.
INLINE Ints code(Floats y, const Coding& how, Ints& bad) {
    bad |= y != y;
    Floats step = how.divides ? (y - how.zero) / how.factor : y * how.factor;
    step = step < how.low ? all(how.low) : step;
    step = step > how.high ? all(how.high) : step;
    return nearest(step) + how.offset;
}

bool codes_of(const float* x, uint8_t* codes, const Coding& how, int64_t begin, int64_t end) {
    typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
    const Table& odds = odd_table();
    Ints bad = {};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
        const Bytes bytes = __builtin_convertvector(code(value(load(x + i), odds), how, bad), Bytes);
        std::memcpy(codes + i, &bytes, sizeof(bytes));
    }
    if (i < end)
        store_rest(codes + i, __builtin_convertvector(code(value(rest<Floats>(x + i, end - i), odds), how, bad), Bytes),
                   end - i);
    bool found = false;
    for (int64_t lane = 0; lane < kLanes; ++lane) found |= bad[lane] != 0;
    return found;
}

void ends_of(const float* x, int64_t begin, int64_t end, Ends& shown) {
    const Table& odds = odd_table();
    Ends ends = shown;
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) Ends::see(ends, value(load(x + i), odds));
    if (i < end) Ends::see(ends, value(rest<Floats>(x + i, end - i), odds));
    shown = ends;
}

}  // namespace

// Whether this is faster than torch's own.
extern "C" int32_t gelu_pays() {
#if defined(__AVX512F__)
    return 1;
#else
    return 0;
#endif
}

// slopes: where codes of dy/dx go, or null.
extern "C" void gelu_forward(const float* x, float* y, int16_t* slopes, int64_t count, float* range, int64_t threads) {
    in_pieces(count, threads, range, [&](int64_t begin, int64_t end, Ends& ends) {
        slopes ? forward<true>(x, y, slopes, begin, end, ends) : forward<false>(x, y, slopes, begin, end, ends);
    });
}

extern "C" void gelu_backward(const float* grad, const float* x, float* out, int64_t count, float* range,
                              int64_t threads) {
    in_pieces(count, threads, range,
              [&](int64_t begin, int64_t end, Ends& ends) { backward(grad, x, out, begin, end, ends); });
}

extern "C" void gelu_backward_slopes(const float* grad, const int16_t* slopes, float* out, int64_t count, float* range,
                                     int64_t threads) {
    in_pieces(count, threads, range,
              [&](int64_t begin, int64_t end, Ends& ends) { backward(grad, slopes, out, begin, end, ends); });
}

// The range of GELU's values, which are not written.
extern "C" void gelu_range(const float* x, int64_t count, float* range, int64_t threads) {
    in_pieces(count, threads, range, [&](int64_t begin, int64_t end, Ends& ends) { ends_of(x, begin, end, ends); });
}

// Codes of GELU's values, which are not written. 1 where one of them is NaN, else 0.
extern "C" int gelu_codes(const float* x, uint8_t* codes, int64_t count, float zero, float factor, float low, float high,
                           int32_t offset, int32_t divides, int64_t threads) {
    const Coding how{zero, factor, low, high, offset, divides};
    float range[2];
    int bad = 0;
    in_pieces(count, threads, range, [&](int64_t begin, int64_t end, Ends&) {
        if (codes_of(x, codes, how, begin, end)) __atomic_store_n(&bad, 1, __ATOMIC_RELAXED);
    });
    return bad;
}
