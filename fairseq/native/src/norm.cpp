// Layer normalisation of residual + dropout(x), forward and backward, each in one pass over memory.
//
//     s = residual + x * noise,   n = (s - mean s) / sqrt(var s + eps),   y = n * weight + bias            by row
//     h = dL/dy * weight,   dL/ds = (h - mean h - n mean(h n)) / sqrt(var s + eps),   dL/dx = dL/ds * noise
//
// For backward n is kept, in fp32 or in 16 bits, and one number per row. |n| < sqrt(columns), which gives the 16 bits
// their step. Rows have a multiple of 16 columns.

#include <algorithm>
#include <cmath>
#include <vector>

#include "masks.h"
#include "threads.h"
#include "vectors.h"

// As in norm.py.
struct Mask {
    uint64_t seed;
    float noise;
    int32_t threshold;
};

namespace {

constexpr int64_t kMinPerThread = 1 << 16;

// The factors of a row's elements.
struct Noise {
    const Mask* mask;
    std::vector<int16_t> uniform;

    Noise(const Mask* mask, int64_t columns) : mask(mask), uniform(mask ? size_t(columns) : 0) {}

    void begin(int64_t row, int64_t columns) {
        if (mask) draw(mask->seed, uint64_t(row * columns / 4), columns / 4, uniform.data());
    }

    Floats times(Floats x, int64_t column) const {
        if (!mask) return x;
        return x * (widened(load(uniform.data() + column)) >= mask->threshold ? all(mask->noise) : Floats{});
    }
};

// Rows as they are kept: how they are written and read.
struct Whole {
    using Type = float;
    explicit Whole(int64_t) {}
    void write(float* to, Floats n) const { store(to, n); }
    Floats read(const float* from) const { return load(from); }
};

struct Short {
    using Type = int16_t;
    float steps;
    explicit Short(int64_t columns) : steps(32767 / std::sqrt(float(columns))) {}
    void write(int16_t* to, Floats n) const { store(to, narrowed(nearest(n * steps))); }
    Floats read(const int16_t* from) const { return floats(widened(load(from))) * (1 / steps); }
};

struct Nothing {
    using Type = float;
    explicit Nothing(int64_t) {}
    void write(float*, Floats) const {}
};

struct Task {
    const Mask* mask;
    const float *x, *residual, *weight, *bias;
    float eps;
    float* y;
    void* kept;
    float* inverse;
    int64_t columns;
};

template <typename Kept>
Range forward(const Task& task, int64_t begin, int64_t end) {
    using T = typename Kept::Type;
    const int64_t columns = task.columns;
    const Kept kept(columns);
    Noise noise(task.mask, columns);
    Ends ends;
    for (int64_t row = begin; row < end; ++row) {
        const float *x = task.x + row * columns, *residual = task.residual + row * columns;
        float* y = task.y + row * columns;
        T* to = task.kept ? static_cast<T*>(task.kept) + row * columns : nullptr;
        noise.begin(row, columns);
        Floats total{};
        for (int64_t i = 0; i < columns; i += kLanes) {
            const Floats s = load(residual + i) + noise.times(load(x + i), i);
            total += s;
            store(y + i, s);
        }
        const float mean = sum(total) / float(columns);
        Floats squares{};
        for (int64_t i = 0; i < columns; i += kLanes) {
            const Floats d = load(y + i) - mean;
            squares += d * d;
        }
        const float inverse = 1 / std::sqrt(sum(squares) / float(columns) + task.eps);
        for (int64_t i = 0; i < columns; i += kLanes) {
            const Floats n = (load(y + i) - mean) * inverse;
            const Floats out = n * load(task.weight + i) + load(task.bias + i);
            store(y + i, out);
            kept.write(to + i, n);
            Ends::see(ends, out);
        }
        if (task.inverse) task.inverse[row] = inverse;
    }
    return Range::of(ends);
}

struct BackwardTask {
    const Mask* mask;
    const float *grad, *weight, *inverse;
    const void* kept;
    float *grad_x, *grad_residual;  // grad_x is null where there is no dropout: it is the other
    int64_t columns;
};

// sums: of dL/dy n, then of dL/dy, by column.
template <typename Kept>
Range backward(const BackwardTask& task, float* sums, int64_t begin, int64_t end) {
    using T = typename Kept::Type;
    const int64_t columns = task.columns;
    const Kept kept(columns);
    Noise noise(task.mask, columns);
    Ends ends;
    for (int64_t row = begin; row < end; ++row) {
        const float* grad = task.grad + row * columns;
        const T* from = static_cast<const T*>(task.kept) + row * columns;
        const float inverse = task.inverse[row];
        const float whole = inverse == inverse ? 1.0f : inverse;  // NaN in a row: 16 bits do not tell
        noise.begin(row, columns);
        Floats total{}, product{};
        for (int64_t i = 0; i < columns; i += kLanes) {
            const Floats g = load(grad + i), n = kept.read(from + i) * whole, h = g * load(task.weight + i);
            total += h;
            product += h * n;
            store(sums + i, load(sums + i) + g * n);
            store(sums + columns + i, load(sums + columns + i) + g);
        }
        const float mean = sum(total) / float(columns), slope = sum(product) / float(columns);
        for (int64_t i = 0; i < columns; i += kLanes) {
            const Floats h = load(grad + i) * load(task.weight + i);
            const Floats out = (h - mean - kept.read(from + i) * slope) * inverse;
            store(task.grad_residual + row * columns + i, out);
            const Floats dropped = noise.times(out, i);
            if (task.grad_x) store(task.grad_x + row * columns + i, dropped);
            Ends::see(ends, dropped);
        }
    }
    return Range::of(ends);
}

// work(index, begin, end) on shares of the rows, each of which returns a range; the range of all.
template <typename Work>
void in_rows(int64_t rows, int64_t shares, float* range, const Work& work) {
    std::vector<Range> found(static_cast<size_t>(shares));
    in_shares(shares, [&](int64_t index) {
        found[size_t(index)] = work(index, rows * index / shares, rows * (index + 1) / shares);
    });
    for (size_t index = 1; index < found.size(); ++index) found[0].join(found[index]);
    range[0] = found[0].low;
    range[1] = found[0].high;
}

int64_t shares_of(int64_t rows, int64_t columns, int64_t threads) {
    return std::max<int64_t>(1, std::min(std::min(threads, rows), rows * columns / kMinPerThread));
}

}  // namespace

// kept: n in 16 or 32 bits; nothing is kept with 0, and `inverse` is null.
extern "C" void norm_forward(const Mask* mask, const float* x, const float* residual, const float* weight,
                             const float* bias, float eps, float* y, void* kept, int32_t bits, float* inverse,
                             int64_t rows, int64_t columns, float* range, int64_t threads) {
    const Task task{mask, x, residual, weight, bias, eps, y, kept, inverse, columns};
    in_rows(rows, shares_of(rows, columns, threads), range, [&](int64_t, int64_t begin, int64_t end) {
        if (bits == 16) return forward<Short>(task, begin, end);
        return bits ? forward<Whole>(task, begin, end) : forward<Nothing>(task, begin, end);
    });
}

// range: of dL/dx.
extern "C" void norm_backward(const Mask* mask, const float* grad, const float* weight, const float* inverse,
                              const void* kept, int32_t bits, float* grad_x, float* grad_residual,
                              float* grad_weight, float* grad_bias, int64_t rows, int64_t columns, float* range,
                              int64_t threads) {
    const BackwardTask task{mask, grad, weight, inverse, kept, grad_x, grad_residual, columns};
    const int64_t shares = shares_of(rows, columns, threads), width = 2 * columns;
    std::vector<float> own(static_cast<size_t>(shares * width));
    in_rows(rows, shares, range, [&](int64_t index, int64_t begin, int64_t end) {
        float* mine = own.data() + index * width;
        return bits == 16 ? backward<Short>(task, mine, begin, end) : backward<Whole>(task, mine, begin, end);
    });
    for (int64_t i = 0; i < width; ++i) {
        float total = 0;
        for (int64_t index = 0; index < shares; ++index) total += own[size_t(index * width + i)];
        (i < columns ? grad_weight[i] : grad_bias[i - columns]) = total;
    }
}
