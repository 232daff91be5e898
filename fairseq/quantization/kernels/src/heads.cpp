// Attention between its projections, on codes: every head's QK^T, mask, softmax, dropout and PV, and all gradients.
//
//     s = Q(q f) Q(k)^T + mask,   p = softmax(s),   y = Q(p noise) Q(v)         f: 1 / sqrt(depth)
//     dv = Q(p noise)^T G,   dp = noise (G Q(v)^T),   ds = p (dp - sum_s dp p),   dq = f E Q(k),   dk = E^T Q(q f)
//     with G = Q'(dy) and E = Q'(ds), rounded once each
//
// Q has one grid for all heads, so a tensor's range has to be known before its first code. Forward goes over the heads
// twice: up to p noise, whose range is found on the way, and from its codes on. Backward does so, too, around ds; it forms
// p anew from the codes of q and k. Matrices are read and written where they lie: rows of q, k, v, y and the gradients
// may have any distance, so that none is copied from (time, batch, channel) order and back.

#include <vector>

#include "coded_product.h"
#include "softmax.h"
#include "threads.h"

extern "C" {

struct Attention {
    int64_t count, heads;  // matrices, and how many of them share a mask
    int64_t queries, keys, depth, width;
    Matrices q, k, v, y, grad_y, grad_q, grad_k, grad_v;  // null: a gradient that is not needed
    const float* mask;                                    // or null
    int64_t mask_batch, mask_row;
    uint8_t *q_codes, *k_codes, *v_codes, *probs_codes;  // in order, several to the byte; null: not kept
    float* scratch;                                      // (count, queries, keys)
    uint64_t seed;                                       // of dropout
    int64_t threads;
    float factor, y_low, y_high;  // extremes of y, which are found
    int32_t dropped;              // of 2^16
    mutable int32_t bad;          // set where a tensor with a given range has NaN
    KernelQParams q_qparams, k_qparams, v_qparams, probs_qparams, grad_y_qparams, grad_scores_qparams;
};
}

namespace {

// --- codes that are kept ----------------------------------------------------------------------------------------------

// As codes_per_byte of codes.py.
int64_t per_byte(const KernelQParams& qparams) { return qparams.num_bits <= 2 ? 4 : qparams.num_bits <= 4 ? 2 : 1; }

// Codes of a head take whole bytes: those of one byte lie a half or a quarter of the head apart.
int64_t bytes_of(int64_t codes, int64_t each) { return (codes + each - 1) / each; }

void keep(const uint8_t* codes, int64_t count, int64_t each, uint8_t* kept) {
    const int64_t bytes = bytes_of(count, each);
    for (int64_t part = 0; part < each; ++part) {
        const int64_t size = std::min(bytes, count - part * bytes), shift = part * 8 / each;
        const uint8_t* __restrict from = codes + part * bytes;
        uint8_t* __restrict to = kept;
        if (part == 0) std::memcpy(to, from, size);
        else for (int64_t i = 0; i < size; ++i) to[i] = uint8_t(to[i] | from[i] << shift);
    }
}

void restore(const uint8_t* kept, int64_t count, int64_t each, uint8_t* codes) {
    const int64_t bytes = bytes_of(count, each);
    const uint8_t most = uint8_t((1 << (8 / each)) - 1);
    for (int64_t part = 0; part < each; ++part) {
        const int64_t size = std::min(bytes, count - part * bytes), shift = part * 8 / each;
        const uint8_t* __restrict from = kept;
        uint8_t* __restrict to = codes + part * bytes;
        for (int64_t i = 0; i < size; ++i) to[i] = uint8_t(from[i] >> shift) & most;
    }
}

// --- heads ------------------------------------------------------------------------------------------------------------

struct Dropout {
    int16_t threshold;
    float noise;

    explicit Dropout(const Attention& x)
        : threshold(int16_t(x.dropped - 32768)), noise(65536.0f / float(65536 - x.dropped)) {}
};

const float* mask_of(const Attention& x, int64_t head, int64_t row) {
    return x.mask ? x.mask + head / x.heads * x.mask_batch + row * x.mask_row : nullptr;
}

// Codes of one head: where they are kept, if that is one byte for each, or in memory of our own.
struct Codes {
    Bytes own;
    uint8_t* data = nullptr;

    // For writing; `done` brings them to where they are kept.
    void open(uint8_t* kept, int64_t count, int64_t head, const KernelQParams& qparams) {
        if (kept && per_byte(qparams) == 1) data = kept + head * count;
        else own.resize(count), data = own.data();
    }

    void done(uint8_t* kept, int64_t count, int64_t head, const KernelQParams& qparams) const {
        const int64_t each = per_byte(qparams);
        if (kept && each > 1) keep(data, count, each, kept + head * bytes_of(count, each));
    }

    void read(uint8_t* kept, int64_t count, int64_t head, const KernelQParams& qparams) {
        const int64_t each = per_byte(qparams);
        open(kept, count, head, qparams);
        if (each > 1) restore(kept + head * bytes_of(count, each), count, each, data);
    }
};

// Memory of one thread.
struct Work {
    Product scores, values, other;
    Codes q, k, v, probs, grad;
    Floats block, second, local;
    Uniform uniform;
    int64_t line;  // floats of a row of a block

    explicit Work(const Attention& x) : line(padded(x.keys, kColumns)) {
        block.resize(kRows * line), second.resize(kRows * line);
    }
};

// Dropout's bits for rows m .. m + rows - 1, in order; null where nothing is dropped.
const int16_t* uniform_of(const Attention& x, int64_t head, int64_t m, int64_t rows, Work& work) {
    return x.dropped ? work.uniform.of(x.seed, uint64_t((head * x.queries + m) * x.keys), rows * x.keys) : nullptr;
}

// Probabilities of kRows queries from `m` on, in `block`: the same from forward and backward.
__attribute__((noinline)) void probabilities(const Attention& x, const Product& scores, int64_t head, int64_t m,
                                             float* block, int64_t line) {
    scores.form(m, block, line);
    for (int64_t i = 0; i < std::min(kRows, x.queries - m); ++i)
        softmax(block + i * line, x.keys, mask_of(x, head, m + i));
}

// Several threads may find NaN.
void note_bad(const Attention& x, bool bad) {
    if (bad) __atomic_store_n(&x.bad, 1, __ATOMIC_RELAXED);
}

// Opens and fills `codes`, and keeps them if they are to be.
void encode_head(const Attention& x, const Matrices& from, int64_t head, int64_t rows, int64_t columns, float factor,
                 const KernelQParams& qparams, uint8_t* kept, Codes& codes) {
    const float* data = from.data + head * from.matrix;
    codes.open(kept, rows * columns, head, qparams);
    bool bad = false;
    if (from.row == columns) {
        bad = encode(data, rows * columns, factor, qparams, 0, nullptr, codes.data);
    } else {
        for (int64_t i = 0; i < rows; ++i) {
            fetch<0>(data + from.matrix + i * from.row, columns);
            bad |= encode(data + i * from.row, columns, factor, qparams, 0, nullptr, codes.data + i * columns);
        }
    }
    note_bad(x, bad);
    codes.done(kept, rows * columns, head, qparams);
}

// Up to what comes out of dropout, (queries, keys) in order.
void forward_scores(const Attention& x, int64_t head, Work& work, float* out, Lanes& lanes) {
    encode_head(x, x.q, head, x.queries, x.depth, x.factor, x.q_qparams, x.q_codes, work.q);
    encode_head(x, x.k, head, x.keys, x.depth, 1.0f, x.k_qparams, x.k_codes, work.k);
    work.scores.set(work.q.data, x.depth, 1, x.q_qparams, x.queries, work.k.data, x.depth, 1, x.k_qparams, x.keys,
                    x.depth);
    const Dropout dropout(x);
    for (int64_t m = 0; m < x.queries; m += kRows) {
        const int64_t rows = std::min(kRows, x.queries - m);
        probabilities(x, work.scores, head, m, work.block.data(), work.line);
        const int16_t* uniform = uniform_of(x, head, m, rows, work);
        for (int64_t i = 0; i < rows; ++i) {
            const float* p = work.block.data() + i * work.line;
            float* target = out + (m + i) * x.keys;
            if (uniform) {
                p = work.second.data();
                for (int64_t j = 0; j < x.keys; j += kLine) {
                    const Line noise = noise_of(uniform + i * x.keys + j, dropout.threshold, dropout.noise);
                    store(work.second.data() + j, load(work.block.data() + i * work.line + j) * noise);
                }
            }
            lanes.see(p, x.keys);
            std::memcpy(target, p, size_t(x.keys) * sizeof(float));
        }
    }
}

// From what came out of dropout on.
void forward_values(const Attention& x, int64_t head, Work& work, const float* dropped, Lanes& lanes) {
    work.probs.open(x.probs_codes, x.queries * x.keys, head, x.probs_qparams);
    note_bad(x, encode(dropped, x.queries * x.keys, 1.0f, x.probs_qparams, 0, nullptr, work.probs.data));
    work.probs.done(x.probs_codes, x.queries * x.keys, head, x.probs_qparams);
    encode_head(x, x.v, head, x.keys, x.width, 1.0f, x.v_qparams, x.v_codes, work.v);
    work.values.set(work.probs.data, x.keys, 1, x.probs_qparams, x.queries, work.v.data, 1, x.width, x.v_qparams,
                    x.width, x.keys);
    work.values.form_all(x.y, head, &lanes);
}

// Stochastic codes of a gradient's rows (queries, columns), in order.
void encode_gradient(const Attention& x, int64_t head, const Matrices& from, int64_t columns, const KernelQParams& qparams,
                     const std::vector<uint32_t>& hashes, Codes& codes) {
    const float* data = from.data + head * from.matrix;
    const int64_t row = from.row, next = from.matrix;
    codes.open(nullptr, x.queries * columns, head, qparams);
    for (int64_t i = 0; i < x.queries; ++i) {
        const uint32_t hash = qparams.stochastic ? index_hash(qparams.noise, uint64_t(head * x.queries + i)) : 0;
        if (row != columns) fetch<0>(data + next + i * row, columns);
        encode(data + i * row, columns, 1.0f, qparams, hash, qparams.stochastic ? hashes.data() : nullptr,
               codes.data + i * columns);
    }
}

// grad_v, and the gradient of the scores.
void backward_values(const Attention& x, int64_t head, Work& work, const std::vector<uint32_t>& hashes, Lanes& lanes) {
    encode_gradient(x, head, x.grad_y, x.width, x.grad_y_qparams, hashes, work.grad);
    if (x.grad_v.data) {
        work.probs.read(x.probs_codes, x.queries * x.keys, head, x.probs_qparams);
        work.other.factor = 1.0f;
        work.other.set(work.probs.data, 1, x.keys, x.probs_qparams, x.keys, work.grad.data, 1, x.width,
                       x.grad_y_qparams, x.width, x.queries);
        work.other.form_all(x.grad_v, head);
    }
    if (!x.grad_q.data && !x.grad_k.data) return;
    work.q.read(x.q_codes, x.queries * x.depth, head, x.q_qparams);
    work.k.read(x.k_codes, x.keys * x.depth, head, x.k_qparams);
    work.v.read(x.v_codes, x.keys * x.width, head, x.v_qparams);
    work.scores.set(work.q.data, x.depth, 1, x.q_qparams, x.queries, work.k.data, x.depth, 1, x.k_qparams, x.keys,
                    x.depth);
    work.values.set(work.grad.data, x.width, 1, x.grad_y_qparams, x.queries, work.v.data, x.width, 1, x.v_qparams,
                    x.keys, x.width);
    const Dropout dropout(x);
    for (int64_t m = 0; m < x.queries; m += kRows) {
        probabilities(x, work.scores, head, m, work.block.data(), work.line);
        work.values.form(m, work.second.data(), work.line);
        const int64_t rows = std::min(kRows, x.queries - m);
        const int16_t* uniform = uniform_of(x, head, m, rows, work);
        for (int64_t i = 0; i < rows; ++i) {
            const float* p = work.block.data() + i * work.line;
            float* grad = work.second.data() + i * work.line;
            Line sums = {};
            for (int64_t j = x.keys; j < padded(x.keys, kLine); ++j) grad[j] = 0.0f;
            for (int64_t j = 0; j < x.keys; j += kLine) {
                Line line = load(grad + j);
                if (uniform) line *= noise_of(uniform + i * x.keys + j, dropout.threshold, dropout.noise);
                store(grad + j, line);
                sums += line * load(p + j);
            }
            const float dot = added(sums);
            for (int64_t j = 0; j < x.keys; j += kLine) store(grad + j, (load(grad + j) - dot) * load(p + j));
            lanes.see(grad, x.keys);
            std::memcpy(x.scratch + (head * x.queries + m + i) * x.keys, grad, size_t(x.keys) * sizeof(float));
        }
    }
}

// grad_q and grad_k, from the gradient of the scores.
void backward_scores(const Attention& x, int64_t head, Work& work, const std::vector<uint32_t>& hashes) {
    const Matrices grad{x.scratch, x.queries * x.keys, x.keys};
    encode_gradient(x, head, grad, x.keys, x.grad_scores_qparams, hashes, work.grad);
    if (x.grad_q.data) {
        work.k.read(x.k_codes, x.keys * x.depth, head, x.k_qparams);
        work.scores.factor = x.factor;
        work.scores.set(work.grad.data, x.keys, 1, x.grad_scores_qparams, x.queries, work.k.data, 1, x.depth,
                        x.k_qparams, x.depth, x.keys);
        work.scores.form_all(x.grad_q, head);
    }
    if (x.grad_k.data) {
        work.q.read(x.q_codes, x.queries * x.depth, head, x.q_qparams);
        work.other.set(work.grad.data, 1, x.keys, x.grad_scores_qparams, x.keys, work.q.data, 1, x.depth, x.q_qparams,
                       x.depth, x.queries);
        work.other.form_all(x.grad_k, head);
    }
}

// --- all heads --------------------------------------------------------------------------------------------------------

// work(share, first head, one past the last) on as many threads as pay; false where memory ran out.
template <typename Job>
bool over_heads(const Attention& x, int64_t shares, const Job& job) {
    std::vector<char> failures(shares, 0);
    in_shares(shares, [&](int64_t share) {
        try {
            job(share, x.count * share / shares, x.count * (share + 1) / shares);
        } catch (...) {
            failures[share] = 1;
        }
    });
    return !*std::max_element(failures.begin(), failures.end());
}

int64_t shares_of(const Attention& x) {
    const int64_t work = x.count * x.queries * x.keys * (x.depth + x.width);
    return std::max<int64_t>(1, std::min({x.threads, x.count, work / kMinMacs}));
}

Range joined(const std::vector<Lanes>& parts) {
    Range range;
    for (const Lanes& part : parts) range.join(part.range());
    return range;
}

// Settles the grid of matrices (rows, columns) times `factor`.
void settle_grid(const Attention& x, int64_t shares, const Matrices& from, int64_t rows, int64_t columns, float factor,
                 KernelQParams& qparams) {
    std::vector<Lanes> lanes(shares);
    if (!qparams.has_range)
        in_shares(shares, [&](int64_t share) {
            if (from.matrix == columns)  // all heads of a row are neighbours
                for (int64_t i = rows * share / shares; i < rows * (share + 1) / shares; ++i)
                    lanes[share].see(from.data + i * from.row, x.count * columns);
            else
                for (int64_t i = x.count * rows * share / shares; i < x.count * rows * (share + 1) / shares; ++i)
                    lanes[share].see(from.data + i / rows * from.matrix + i % rows * from.row, columns);
        });
    make_grid(qparams, joined(lanes), factor);
}

std::vector<uint32_t> column_hashes(const Attention& x, const KernelQParams& qparams, int64_t columns) {
    std::vector<uint32_t> hashes(columns);
    index_hashes(qparams.noise, uint64_t(x.count * x.queries), columns, hashes.data());
    return hashes;
}

bool forward(Attention& x) {
    const int64_t shares = shares_of(x);
    settle_grid(x, shares, x.q, x.queries, x.depth, x.factor, x.q_qparams);
    settle_grid(x, shares, x.k, x.keys, x.depth, 1.0f, x.k_qparams);
    settle_grid(x, shares, x.v, x.keys, x.width, 1.0f, x.v_qparams);
    std::vector<Lanes> of_probs(shares), of_y(shares);
    const int64_t size = x.queries * x.keys;
    bool done;
    if (x.probs_qparams.has_range) {
        make_grid(x.probs_qparams, Range(), 1.0f);
        done = over_heads(x, shares, [&](int64_t share, int64_t first, int64_t last) {
            Work work(x);
            work.local.resize(size);
            for (int64_t head = first; head < last; ++head) {
                forward_scores(x, head, work, work.local.data(), of_probs[share]);
                forward_values(x, head, work, work.local.data(), of_y[share]);
            }
        });
    } else {
        done = over_heads(x, shares, [&](int64_t share, int64_t first, int64_t last) {
            Work work(x);
            for (int64_t head = first; head < last; ++head)
                forward_scores(x, head, work, x.scratch + head * size, of_probs[share]);
        });
        make_grid(x.probs_qparams, joined(of_probs), 1.0f);
        done = done && over_heads(x, shares, [&](int64_t share, int64_t first, int64_t last) {
            Work work(x);
            for (int64_t head = first; head < last; ++head)
                forward_values(x, head, work, x.scratch + head * size, of_y[share]);
        });
    }
    const Range range = joined(of_y);
    x.y_low = range.bad ? std::numeric_limits<float>::quiet_NaN() : range.low;
    x.y_high = range.bad ? std::numeric_limits<float>::quiet_NaN() : range.high;
    return done;
}

bool backward(Attention& x) {
    const int64_t shares = shares_of(x);
    settle_grid(x, shares, x.grad_y, x.queries, x.width, 1.0f, x.grad_y_qparams);
    std::vector<Lanes> lanes(shares);
    const auto y_hashes = column_hashes(x, x.grad_y_qparams, x.width);
    const bool done = over_heads(x, shares, [&](int64_t share, int64_t first, int64_t last) {
        Work work(x);
        for (int64_t head = first; head < last; ++head) backward_values(x, head, work, y_hashes, lanes[share]);
    });
    if (!done || (!x.grad_q.data && !x.grad_k.data)) return done;
    make_grid(x.grad_scores_qparams, joined(lanes), 1.0f);
    const auto hashes = column_hashes(x, x.grad_scores_qparams, x.keys);
    return over_heads(x, shares, [&](int64_t, int64_t first, int64_t last) {
        Work work(x);
        for (int64_t head = first; head < last; ++head) backward_scores(x, head, work, hashes);
    });
}

template <typename Job>
int tried(const Job& job) {
    try {
        return job() ? 0 : 1;
    } catch (...) {
        return 1;
    }
}

}  // namespace

// 0, or 1 where memory ran out. The ranges that were found, and the grids, are left in `x`.
extern "C" int attention_forward(Attention* x) { return tried([&] { return forward(*x); }); }

extern "C" int attention_backward(Attention* x) { return tried([&] { return backward(*x); }); }
