// Parallel loops on the threads that torch computes with.
//
// torch's threads spin for milliseconds while they wait for work, and threads of our own would compete with them for
// cores. So this uses the OpenMP runtime that torch has loaded: its entry points are resolved when this library is loaded,
// and no runtime is linked. Without one, std::thread is used.

#pragma once

#include <cstdint>
#include <thread>
#include <vector>

#if defined(__linux__)
extern "C" {
void GOMP_parallel(void (*)(void*), void*, unsigned, unsigned) __attribute__((weak));
int omp_get_thread_num() __attribute__((weak));
int omp_get_num_threads() __attribute__((weak));
}
#endif

namespace {

// work(0) .. work(shares - 1), which must not throw; on as many threads if they can be had.
template <typename Work>
void in_shares(int64_t shares, const Work& work) {
    if (shares <= 1) {
        work(0);
        return;
    }
#if defined(__linux__)
    if (GOMP_parallel && omp_get_thread_num && omp_get_num_threads) {
        struct Task {
            const Work* work;
            int64_t shares;
        } task{&work, shares};
        const auto run = [](void* given) {
            const Task& mine = *static_cast<Task*>(given);
            for (int64_t share = omp_get_thread_num(); share < mine.shares; share += omp_get_num_threads())
                (*mine.work)(share);
        };
        GOMP_parallel(run, &task, unsigned(shares), 0);
        return;
    }
#endif
    std::vector<std::thread> others;
    int64_t started = 1;
    try {
        for (; started < shares; ++started) others.emplace_back([&work, started] { work(started); });
    } catch (...) {  // no thread to be had: its share is done here
    }
    work(0);
    for (int64_t share = started; share < shares; ++share) work(share);
    for (auto& other : others) other.join();
}

}  // namespace
