// Memory of the passes.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace ru {

struct Free {
    void operator()(void* p) const { std::free(p); }
};

// Aligned memory that only grows.
template <class T> class Buffer {
  public:
    T* ensure(size_t n) {
        if (n > size_) {
            if (n > SIZE_MAX / sizeof(T) - 127) throw std::bad_alloc();
            const size_t bytes = (n * sizeof(T) + 127) / 64 * 64;
            size_ = 0, data_.reset();  // where there is no memory, none is left over that would look like enough
            data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
            if (!data_) throw std::bad_alloc();
            size_ = n;
        }
        return data_.get();
    }
    // As zeros, for memory that is also read where nothing was written.
    T* ensure_zeros(size_t n) {
        if (n > size_) std::fill_n(ensure(n), n, T(0));
        return get();
    }
    T* get() const { return data_.get(); }
    size_t bytes() const { return size_ * sizeof(T); }

  private:
    std::unique_ptr<T, Free> data_;
    size_t size_ = 0;
};

}  // namespace ru
