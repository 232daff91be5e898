// Attention of one query for each row over the keys and values of earlier steps, which are read where they were written.
//
//     s[t] = Q(q f) . k[t],   p = softmax(s),   y = sum over t of Q(p)[t] v[t]          for each row and head
//
// Step t's keys are a slab of rows; row n reads its row places[n, t]. So beam search arranges places anew, and moves no
// keys. A slab holds fp32 numbers, codes of 8 bits on one grid, or for each row and head a scale, a zero and codes of 8
// or 4 bits: value = scale * code + zero. Of 4 bits, 16 bytes hold 32 codes, the first 16 in their lower halves. Q stands
// for the grids of an attention in integers, to which numbers of such records are rounded, too; or for nothing.

#include <cstdint>
#include <vector>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {
inline int64_t padded(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }
}  // namespace

#include "softmax.h"
#include "threads.h"

extern "C" {

struct StepAttention {
    int64_t rows, heads, depth, steps;
    int64_t row_bytes, head_bytes;           // between rows and heads of a slab
    const float* q;                          // (rows, heads * depth), in order
    float *y, *probs;                        // the same; (heads, rows, steps), or null
    const uint8_t* const* keys;              // by step
    const uint8_t* const* values;            // by step
    const int32_t* places;                   // with these distances between rows and steps
    int64_t places_row, places_step;
    const uint8_t* hidden;                   // (rows of a slab, steps), 1: not attended to; or null
    int64_t threads;
    float factor;
    int32_t storage;                         // a value of Storage
    mutable int32_t bad;                     // set where what is rounded has NaN
    KernelQParams q_qparams, k_qparams, v_qparams, probs_qparams;  // of no bits: not rounded
};
}

namespace {

enum Storage : int32_t { kFloats = 0, kOneGrid = 1, kBytes = 8, kNibbles = 4 };
constexpr int64_t kRecord = 8;               // bytes of a head's scale and zero
constexpr int64_t kRowsAtOnce = 16;          // rows of a sentence read the same keys: they stay in cache
constexpr int64_t kMinWork = 1 << 16;        // multiply-accumulates of a thread
constexpr float kHidden = -1.7e38f;

typedef uint8_t Bytes16 __attribute__((vector_size(kLine)));

// Codes as numbers. By the types alone gcc 12 converts them one by one, seven times as slow.
INLINE Line converted(Bytes16 codes) {
#if defined(__AVX512F__)
    return (Line)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32((__m128i)codes));
#else
    return __builtin_convertvector(__builtin_convertvector(codes, LineInts), Line);
#endif
}

INLINE float total(Line x) {
    typedef float Half __attribute__((vector_size(2 * kLine)));
    typedef float Quarter __attribute__((vector_size(kLine)));
    Half half[2];
    std::memcpy(half, &x, sizeof(x));
    const Half sum = half[0] + half[1];
    Quarter quarter[2];
    std::memcpy(quarter, &sum, sizeof(sum));
    const Quarter last = quarter[0] + quarter[1];
    return (last[0] + last[1]) + (last[2] + last[3]);
}

// How a head's numbers are read, 16 at a time: value = scale * get(...) + zero. `get` of fewer gives 0 for the others.
struct FloatReader {
    static constexpr bool kHasGrid = false;
    const float* from;
    FloatReader(const uint8_t* head, const KernelQParams&) : from(reinterpret_cast<const float*>(head)) {}
    float scale() const { return 1.0f; }
    float zero() const { return 0.0f; }
    INLINE Line get(int64_t line) const { return load(from + line * kLine); }
    INLINE Line get(int64_t line, int64_t count) const {
        Line x = {};
        std::memcpy(&x, from + line * kLine, size_t(count) * sizeof(float));
        return x;
    }
};

struct ByteReader {
    static constexpr bool kHasGrid = true;
    const uint8_t* from;
    explicit ByteReader(const uint8_t* from) : from(from) {}
    INLINE Line get(int64_t line) const {
        Bytes16 codes;
        std::memcpy(&codes, from + line * kLine, sizeof(codes));
        return converted(codes);
    }
    INLINE Line get(int64_t line, int64_t count) const {
        Bytes16 codes = {};
        std::memcpy(&codes, from + line * kLine, size_t(count));
        return converted(codes);
    }
};

struct OneGridReader : ByteReader {
    float a, b;
    OneGridReader(const uint8_t* head, const KernelQParams& grid)
        : ByteReader(head), a(grid.scale), b(grid.offset - grid.scale * float(grid.zero_point)) {}
    float scale() const { return a; }
    float zero() const { return b; }
};

template <typename Reader>
struct Recorded : Reader {
    float numbers[2];
    Recorded(const uint8_t* head, const KernelQParams&) : Reader(head + kRecord) {
        std::memcpy(numbers, head, sizeof(numbers));
    }
    float scale() const { return numbers[0]; }
    float zero() const { return numbers[1]; }
};

// Room is for whole lines: codes behind the last are 0.
struct NibbleReader {
    static constexpr bool kHasGrid = true;
    const uint8_t* from;
    explicit NibbleReader(const uint8_t* from) : from(from) {}
    INLINE Line get(int64_t line) const {
        Bytes16 codes;
        std::memcpy(&codes, from + line / 2 * kLine, sizeof(codes));
        return converted(line % 2 ? codes >> 4 : codes & 15);
    }
    INLINE Line get(int64_t line, int64_t) const { return get(line); }
};

// Numbers of another reader, rounded to the grid of an attention in integers.
template <typename Reader>
struct Rounded {
    static constexpr bool kHasGrid = true;
    const Reader reader;
    const KernelQParams& grid;
    Line low, high;
    float first, a, b, shift, reciprocal;

    Rounded(const uint8_t* head, const KernelQParams& grid) : reader(head, grid), grid(grid) {
        const bool shifted = grid.format == kAffineFloatZp;
        const float most = max_code(grid), zero = grid.zero;
        low = all(grid.format == kSymmetric ? -most : grid.format == kAffine ? -zero : 0.0f);
        high = all(grid.format == kAffine ? most - zero : most);
        shift = shifted ? zero : 0.0f;
        reciprocal = 1.0f / grid.scale;
        a = grid.scale;
        b = shifted ? grid.offset - grid.scale * float(grid.zero_point) : 0.0f;
        first = reader.zero();
    }
    float scale() const { return a; }
    float zero() const { return b; }
    INLINE Line step(Line x) const {
        x = (reader.scale() * x + first - shift) * reciprocal;
        x = x < low ? low : x;
        x = x > high ? high : x;
        return (x + kWhole) - kWhole;
    }
    INLINE Line get(int64_t line) const { return step(reader.get(line)); }
    INLINE Line get(int64_t line, int64_t count) const { return step(reader.get(line, count)); }
};

// q of one head: whole lines, and its sum, which zeros are multiplied by.
struct Query {
    std::vector<float> values;
    std::vector<uint8_t> codes;
    float sum = 0;

    explicit Query(int64_t depth) : values(padded(depth, kLine)), codes(padded(depth, kLine)) {}

    void set(const float* q, int64_t depth, float factor, const KernelQParams& grid, int32_t& bad) {
        if (grid.num_bits) {
            if (encode(q, depth, factor, grid, 0, nullptr, codes.data())) bad = 1;
            for (int64_t i = 0; i < depth; ++i)
                values[i] = grid.scale * float(int32_t(codes[i]) - grid.zero_point) + grid.offset;
        } else {
            for (int64_t i = 0; i < depth; ++i) values[i] = q[i] * factor;
        }
        Line sums = {};
        for (size_t i = 0; i < values.size(); i += kLine) sums += load(values.data() + i);
        sum = total(sums);
    }
};

template <typename Reader>
INLINE float dot(const Query& q, const Reader& keys, int64_t depth) {
    const int64_t lines = depth / kLine;
    const float* values = q.values.data();
    Line first = {}, second = {};
    int64_t line = 0;
    for (; line + 2 <= lines; line += 2) {
        first += load(values + line * kLine) * keys.get(line);
        second += load(values + (line + 1) * kLine) * keys.get(line + 1);
    }
    if (line < lines) first += load(values + line * kLine) * keys.get(line);
    if (depth % kLine) second += load(values + lines * kLine) * keys.get(lines, depth % kLine);
    const float sum = total(first + second);
    return Reader::kHasGrid ? keys.scale() * sum + keys.zero() * q.sum : sum;
}

// Lines `line` .. `line` + kCount - 1 of y.
template <typename Reader, int kCount>
INLINE void weighted(const StepAttention& x, const uint8_t* const* values, const float* weights, int64_t line, float zero,
                     float* y) {
    Line sums[kCount];
    for (int i = 0; i < kCount; ++i) sums[i] = all(zero);
    for (int64_t t = 0; t < x.steps; ++t) {
        if (weights[t] == 0.0f) continue;
        const Reader reader(values[t], x.v_qparams);
        for (int i = 0; i < kCount; ++i) sums[i] += weights[t] * reader.get(line + i);
    }
    for (int i = 0; i < kCount; ++i) store(y + (line + i) * kLine, sums[i]);
}

template <typename Reader>
void sum_values(const StepAttention& x, const uint8_t* const* values, float* weights, float* y) {
    float zero = 0;
    if (Reader::kHasGrid) {
        for (int64_t t = 0; t < x.steps; ++t) {
            const Reader reader(values[t], x.v_qparams);
            zero += weights[t] * reader.zero();
            weights[t] *= reader.scale();
        }
    }
    const int64_t lines = x.depth / kLine, rest = x.depth % kLine;
    int64_t line = 0;
    for (; line + 8 <= lines; line += 8) weighted<Reader, 8>(x, values, weights, line, zero, y);
    for (; line + 4 <= lines; line += 4) weighted<Reader, 4>(x, values, weights, line, zero, y);
    for (; line < lines; ++line) weighted<Reader, 1>(x, values, weights, line, zero, y);
    if (!rest) return;
    Line sums = all(zero);
    for (int64_t t = 0; t < x.steps; ++t)
        if (weights[t] != 0.0f) sums += weights[t] * Reader(values[t], x.v_qparams).get(lines, rest);
    std::memcpy(y + lines * kLine, &sums, size_t(rest) * sizeof(float));
}

// Memory of one thread.
struct Work {
    Query query;
    std::vector<float> scores;
    std::vector<uint8_t> codes;
    std::vector<const uint8_t*> values;

    explicit Work(const StepAttention& x)
        : query(x.depth), scores(padded(x.steps, kLine)), codes(x.steps), values(x.steps) {}
};

template <typename Reader>
void attend(const StepAttention& x, int64_t row, int64_t head, Work& work) {
    const int64_t width = x.heads * x.depth;
    const int32_t* places = x.places + row * x.places_row;
    int32_t bad = 0;
    work.query.set(x.q + row * width + head * x.depth, x.depth, x.factor, x.q_qparams, bad);
    float* scores = work.scores.data();
    const uint8_t* hidden = x.hidden ? x.hidden + places[0] * x.steps : nullptr;
    for (int64_t t = 0; t < x.steps; ++t) {
        const int64_t at = places[t * x.places_step] * x.row_bytes + head * x.head_bytes;
        work.values[t] = x.values[t] + at;
        scores[t] = hidden && hidden[t] ? kHidden : dot(work.query, Reader(x.keys[t] + at, x.k_qparams), x.depth);
    }
    softmax(scores, x.steps, nullptr);
    if (x.probs) std::memcpy(x.probs + (head * x.rows + row) * x.steps, scores, size_t(x.steps) * sizeof(float));
    const KernelQParams& grid = x.probs_qparams;
    if (grid.num_bits) {
        if (encode(scores, x.steps, 1.0f, grid, 0, nullptr, work.codes.data())) bad = 1;
        for (int64_t t = 0; t < x.steps; ++t)
            scores[t] = grid.scale * float(int32_t(work.codes[t]) - grid.zero_point) + grid.offset;
    }
    sum_values<Reader>(x, work.values.data(), scores, x.y + row * width + head * x.depth);
    if (bad) __atomic_store_n(&x.bad, 1, __ATOMIC_RELAXED);
}

template <typename Reader>
bool attend_all(const StepAttention& x) {
    const int64_t macs = x.rows * x.heads * x.depth * x.steps * 2;
    const int64_t shares = std::max<int64_t>(1, std::min({x.threads, x.rows, macs / kMinWork}));
    std::vector<char> failures(shares, 0);
    in_shares(shares, [&](int64_t share) {
        try {
            Work work(x);
            const int64_t last = x.rows * (share + 1) / shares;
            for (int64_t begin = x.rows * share / shares; begin < last; begin += kRowsAtOnce)
                for (int64_t head = 0; head < x.heads; ++head)
                    for (int64_t row = begin; row < std::min(last, begin + kRowsAtOnce); ++row)
                        attend<Reader>(x, row, head, work);
        } catch (...) {
            failures[share] = 1;
        }
    });
    return !*std::max_element(failures.begin(), failures.end());
}

bool attend_any(StepAttention& x) {
    for (KernelQParams* grid : {&x.q_qparams, &x.k_qparams, &x.v_qparams, &x.probs_qparams})
        if (grid->num_bits) make_grid(*grid, Range(), 1.0f);
    const bool rounds = x.k_qparams.num_bits != 0;
    switch (x.storage) {
        case kFloats: return attend_all<FloatReader>(x);
        case kOneGrid: return attend_all<OneGridReader>(x);
        case kBytes:
            return rounds ? attend_all<Rounded<Recorded<ByteReader>>>(x) : attend_all<Recorded<ByteReader>>(x);
        default:
            return rounds ? attend_all<Rounded<Recorded<NibbleReader>>>(x) : attend_all<Recorded<NibbleReader>>(x);
    }
}

// Codes of `depth` numbers on a grid from their smallest to their largest, behind its scale and zero: affine_float_zp.
void encode_head(const float* x, int64_t depth, int32_t bits, uint8_t* record) {
    Lanes lanes;
    lanes.see(x, depth);
    const Range range = lanes.range();
    const float most = float((1 << bits) - 1), nan = std::numeric_limits<float>::quiet_NaN();
    const float scale = at_least((range.high - range.low) / most, kMinAffineScale);
    const bool usual = !range.bad && scale - scale == 0.0f;  // else all becomes NaN, as infinity times no step is
    const float numbers[2] = {usual ? scale : nan, range.low};
    std::memcpy(record, numbers, sizeof(numbers));
    if (!usual) return;
    uint8_t* codes = record + kRecord;
    alignas(64) float steps[kStrip];
    for (int64_t start = 0; start < depth; start += kStrip) {
        const int64_t size = std::min(kStrip, depth - start);
        for (int64_t i = 0; i < size; ++i) steps[i] = (x[start + i] - range.low) / scale;
        for (int64_t i = 0; i < size; ++i) {
            const float step = (steps[i] > most ? most : steps[i]) + kWhole;
            int32_t code;
            std::memcpy(&code, &step, sizeof(code));
            steps[i] = float(code & 255);
        }
        if (bits == 8) {
            for (int64_t i = 0; i < size; ++i) codes[start + i] = uint8_t(steps[i]);
            continue;
        }
        for (int64_t i = start; i < start + size; ++i) {
            const uint8_t code = uint8_t(steps[i - start]);
            uint8_t& both = codes[i / (2 * kLine) * kLine + i % kLine];
            both = i / kLine % 2 ? uint8_t(both | code << 4) : code;
        }
    }
}

}  // namespace

extern "C" {

// 0, or 1 where memory ran out.
int attend_to_steps(StepAttention* x) {
    try {
        return attend_any(*x) ? 0 : 1;
    } catch (...) {
        return 1;
    }
}

// Records of x (count, depth), each of `record_bytes`, for codes of 8 or 4 bits.
void encode_heads(const float* x, int64_t count, int64_t depth, int32_t bits, int64_t record_bytes, uint8_t* records) {
    std::memset(records, 0, size_t(count * record_bytes));
    for (int64_t head = 0; head < count; ++head) encode_head(x + head * depth, depth, bits, records + head * record_bytes);
}

// Codes of `count` numbers on the grid of a given range; 1 where one is NaN. The grid is left in `qparams`.
int encode_step(const float* x, int64_t count, KernelQParams* qparams, uint8_t* codes) {
    make_grid(*qparams, Range(), 1.0f);
    return encode(x, count, 1.0f, *qparams, 0, nullptr, codes) ? 1 : 0;
}
}
