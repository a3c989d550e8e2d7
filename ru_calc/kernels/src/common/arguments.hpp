// What Python hands over: arguments, arrays and capsules.  Sizes and kinds are checked here, so that nothing leaves its
// arrays.
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

namespace ru {

struct PythonError {};  // an exception is set

// Runs f and turns C++ exceptions into Python's.
template <class F> inline PyObject* guarded(F f) {
    try {
        return f();
    } catch (const PythonError&) {
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (const std::length_error&) {  // a vector of more than all memory
        PyErr_NoMemory();
    } catch (const std::system_error& problem) {
        PyErr_Format(PyExc_MemoryError, "a thread cannot be started (%s); use fewer threads", problem.what());
    } catch (const std::exception& problem) {
        PyErr_SetString(PyExc_RuntimeError, problem.what());
    } catch (...) {
        PyErr_SetString(PyExc_RuntimeError, "an unknown error");
    }
    return nullptr;
}

// An object that lives in a capsule; those of different types and precisions have different names.
template <class X> inline void destroy(PyObject* capsule) {
    delete static_cast<X*>(PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule)));
}
template <class X> inline PyObject* capsule(X* object, const char* name) {
    PyObject* made = PyCapsule_New(object, name, destroy<X>);
    if (!made) delete object;
    return made;
}
template <class X> inline X* open(PyObject* object, const char* name) {
    auto* found = static_cast<X*>(PyCapsule_GetPointer(object, name));
    if (!found) throw PythonError();
    return found;
}

// Python's arrays, held as long as this lives.
class Arrays {
  public:
    Arrays() = default;
    Arrays(const Arrays&) = delete;
    ~Arrays() {
        for (auto& view : views_) PyBuffer_Release(&view);
    }

    // A contiguous array of X, which is const unless it is written to; of any size where size < 0.
    template <class X> X* array(PyObject* object, const std::string& name, int64_t size = -1) {
        constexpr bool floating = std::is_floating_point_v<X>;
        constexpr int access = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (std::is_const_v<X> ? 0 : PyBUF_WRITABLE);
        Py_buffer view;
        if (PyObject_GetBuffer(object, &view, access)) throw PythonError();
        views_.push_back(view);
        const std::string_view found = view.format ? view.format : "B", kinds = floating ? "fd" : "lq";
        if (found.size() != 1 || kinds.find(found) == kinds.npos || view.itemsize != sizeof(X)) {
            const char* wanted = floating ? "float" : "int";
            PyErr_Format(PyExc_TypeError, "%s must be a contiguous array of %s%d", name.c_str(), wanted,
                         int(8 * sizeof(X)));
            throw PythonError();
        }
        last_ = view.len / int64_t(sizeof(X));
        if (size >= 0 && last_ != size)
            throw std::runtime_error(name + " holds " + std::to_string(last_) + " numbers, not " +
                                     std::to_string(size));
        return static_cast<X*>(view.buf);
    }

    int64_t last() const { return last_; }  // size of the last array

  private:
    std::vector<Py_buffer> views_;
    int64_t last_ = 0;
};

// The arguments of one call, read from left to right.
class Arguments {
  public:
    explicit Arguments(PyObject* tuple) : tuple_(tuple) {}

    PyObject* object() {
        PyObject* found = item();
        return ++at_, found;
    }
    int64_t integer() {
        const int64_t value = PyLong_AsLongLong(item());
        if (value == -1 && PyErr_Occurred()) throw PythonError();
        return ++at_, value;
    }
    int64_t count(int64_t least = 0, int64_t most = int64_t(1) << 28) {
        const int64_t value = integer();
        if (value < least || value > most)
            throw std::runtime_error("argument " + std::to_string(at_ - 1) + " is " + std::to_string(value) +
                                     "; it must be from " + std::to_string(least) + " to " + std::to_string(most));
        return value;
    }
    double number() {
        const double value = PyFloat_AsDouble(item());
        if (value == -1 && PyErr_Occurred()) throw PythonError();
        return ++at_, value;
    }
    template <class X> X* array(int64_t size = -1, const char* name = nullptr) {
        X* found = arrays_.array<X>(item(), name ? name : "argument " + std::to_string(at_), size);
        return ++at_, found;
    }
    // Or None.
    template <class X> X* optional(int64_t size, const char* name) {
        return item() == Py_None ? (++at_, nullptr) : array<X>(size, name);
    }
    int64_t last() const { return arrays_.last(); }

    // Reads 32 or 64, and returns f(float) or f(double).
    template <class F> auto in_bits(F f) {
        const int64_t bits = integer();
        if (bits != 32 && bits != 64)
            throw std::runtime_error("numbers have 32 or 64 bits, not " + std::to_string(bits));
        return bits == 32 ? f(float{}) : f(double{});
    }

  private:
    PyObject* item() const {
        if (at_ >= PyTuple_GET_SIZE(tuple_)) throw std::runtime_error("an argument is missing");
        return PyTuple_GET_ITEM(tuple_, at_);
    }

    PyObject* tuple_;
    Py_ssize_t at_ = 0;
    Arrays arrays_;
};

inline void check_pairs(int64_t pairs, const int64_t* first, const int64_t* second, int64_t atoms) {
    for (int64_t p = 0; p < pairs; ++p)
        if (uint64_t(first[p]) >= uint64_t(atoms) || uint64_t(second[p]) >= uint64_t(atoms))
            throw std::runtime_error("pair " + std::to_string(p) + " joins atoms " + std::to_string(first[p]) +
                                     " and " + std::to_string(second[p]) + ", but there are " + std::to_string(atoms) +
                                     " atoms");
}

}  // namespace ru
