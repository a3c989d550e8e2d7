// Work that several threads share.
#pragma once
#include <barrier>
#include <exception>
#include <future>
#include <thread>
#include <vector>

namespace ru::inference {

// Runs f(t, barrier) in threads t = 0 … n − 1, all or, where one cannot be started, none.  After an exception in one of
// them the others do not wait for it at the barrier; when all have ended, the first one is thrown here.
template <class F> inline void in_threads(int n, F f) {
    std::barrier<> barrier(n);
    std::vector<std::exception_ptr> thrown(n);
    const auto run = [&](int t) {
        try {
            f(t, barrier);
        } catch (...) {
            thrown[t] = std::current_exception();
            barrier.arrive_and_drop();
        }
    };
    std::vector<std::thread> others;
    std::promise<bool> all_started;
    std::shared_future<bool> go = all_started.get_future().share();
    try {
        for (int t = 1; t < n; ++t)
            others.emplace_back([&run, t, go] {
                if (go.get()) run(t);
            });
    } catch (...) {
        all_started.set_value(false);
        for (auto& thread : others) thread.join();
        throw;
    }
    all_started.set_value(true);
    run(0);
    for (auto& thread : others) thread.join();
    for (const auto& problem : thrown)
        if (problem) std::rethrow_exception(problem);
}

}  // namespace ru::inference
