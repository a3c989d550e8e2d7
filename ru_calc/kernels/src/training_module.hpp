// The Python functions of training.hpp and tape.hpp.  Each takes 32 or 64 (bits of its numbers) first, then arrays,
// and fills or adds to the last ones.  Sizes and indices are checked: nothing here leaves its arrays.
#pragma once
#include "tape.hpp"

namespace {

constexpr int64_t kMostDegrees = 32, kMostChannels = 4096;  // sizes of an atom's invariants fit an int

// The arguments of one call, read from left to right.
class Arguments {
  public:
    explicit Arguments(PyObject* tuple) : tuple_(tuple) {}
    ~Arguments() { for (auto& view : views_) PyBuffer_Release(&view); }
    Arguments(const Arguments&) = delete;

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
        if (value < least || value > most) throw std::runtime_error("a size is out of range");
        return value;
    }
    double number() {
        const double value = PyFloat_AsDouble(item());
        if (value == -1 && PyErr_Occurred()) throw PythonError();
        return ++at_, value;
    }
    // size < 0: any.
    template <class X> X* array(int64_t size, bool written = false) {
        Py_buffer view;
        if (PyObject_GetBuffer(item(), &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (written ? PyBUF_WRITABLE : 0)))
            throw PythonError();
        views_.push_back(view);
        const char found = view.format ? *view.format : 'B';
        const bool right = std::is_same_v<X, float> ? found == 'f' : std::is_same_v<X, double> ? found == 'd' : found == 'l' || found == 'q';
        if (!right || view.itemsize != sizeof(X)) throw std::runtime_error(place() + " is of the wrong kind");
        last_ = view.len / int64_t(sizeof(X));
        if (size >= 0 && last_ != size) throw std::runtime_error(place() + " is of the wrong size");
        return ++at_, static_cast<X*>(view.buf);
    }
    int64_t last() const { return last_; }

  private:
    PyObject* item() const {
        if (at_ >= PyTuple_GET_SIZE(tuple_)) throw std::runtime_error("an argument is missing");
        return PyTuple_GET_ITEM(tuple_, at_);
    }
    std::string place() const { return "argument " + std::to_string(at_); }

    PyObject* tuple_;
    Py_ssize_t at_ = 0;
    int64_t last_ = 0;
    std::vector<Py_buffer> views_;
};

// first, second, interval, weights
template <class T> PairList<T> pair_list(Arguments& from, int64_t atoms, int64_t rows) {
    PairList<T> pairs{};
    pairs.first = from.array<int64_t>(-1), pairs.n = from.last();
    pairs.second = from.array<int64_t>(pairs.n), pairs.interval = from.array<int64_t>(pairs.n);
    pairs.weights = from.array<T>(pairs.n * kWeights);
    for (int64_t p = 0; p < pairs.n; ++p)
        if (uint64_t(pairs.first[p]) >= uint64_t(atoms) || uint64_t(pairs.second[p]) >= uint64_t(atoms) ||
            pairs.interval[p] < 0 || pairs.interval[p] > rows - kSplines)
            throw std::runtime_error("a pair names an atom or an interval that is not there");
    return pairs;
}

// y, dy, units, parity
template <class T> Sphere<T> sphere(Arguments& from, int64_t pairs) {
    Sphere<T> on{};
    on.y = from.array<T>(-1), on.harmonics = pairs ? int(from.last() / pairs) : 0;
    on.dy = from.array<T>(3 * pairs * on.harmonics), on.units = from.array<T>(3 * pairs);
    on.parity = from.array<T>(-1);
    if (pairs && from.last() != on.harmonics) throw std::runtime_error("there must be one parity for each harmonic");
    on.harmonics = int(from.last());
    return on;
}

template <class T> void call_weights(Arguments& from) {
    const double cutoff = from.number(), fade = from.number();
    const int64_t intervals = from.count(1);
    const T* vectors = from.array<T>(-1);
    const int64_t n = from.last() / 3;
    auto* interval = from.array<int64_t>(n, true);
    T* weights = from.array<T>(n * kWeights, true);
    pair_weights<T>(n, vectors, cutoff, fade, int(intervals), interval, weights, from.array<T>(3 * n, true));
}

template <class T> void call_harmonics(Arguments& from) {
    const int l_max = int(from.count(0, kMostDegrees)), count = (l_max + 1) * (l_max + 1);
    const double* rows = from.array<double>(-1);
    std::vector<Raising<T>> raising;
    for (int64_t k = 0; k + 4 <= from.last(); k += 4) {
        raising.push_back({int(rows[k]), int(rows[k + 1]), int(rows[k + 2]), T(rows[k + 3])});
        const auto& term = raising.back();
        if (std::min({term.out, term.axis, term.in}) < 0 || std::max(term.out, term.in) >= count || term.axis > 2)
            throw std::runtime_error("a raising term leads out of the harmonics");
    }
    const T* vectors = from.array<T>(-1);
    const int64_t n = from.last() / 3;
    T* y = from.array<T>(n * count, true);
    pair_harmonics<T>(n, vectors, l_max, raising, y, from.array<T>(3 * n * count, true));
}

template <class T> Invariants<T> invariants_of(Arguments& from) {
    Invariants<T> made{};
    made.n = int(from.count(0, kMostChannels)), made.l_max = int(from.count(0, kMostDegrees));
    made.triple = int(from.count(0, kMostChannels)), made.couplings = int(from.count(0, kMostChannels));
    const double* rows = from.array<double>(-1);
    for (int64_t k = 0; k + 5 <= from.last(); k += 5) {
        const int coupling = int(rows[k]), a = int(rows[k + 1]), b = int(rows[k + 2]), c = int(rows[k + 3]);
        if (std::min({coupling, a, b, c}) < 0 || coupling >= made.couplings || std::max({a, b, c}) >= made.harmonics())
            throw std::runtime_error("a coupling leads out of the harmonics");
        made.add_term(coupling, a, {b, c, T(rows[k + 4])});
    }
    return made;
}

template <class T> constexpr const char* kTape = sizeof(T) == 4 ? "ru_calc.tape32" : "ru_calc.tape64";

template <class T> PyObject* new_tape(Arguments& from) {
    Shape shape{};
    shape.channels = int(from.count(1, kMostChannels)), shape.blocks = int(from.count(0, kMostDegrees));
    shape.radial = int(from.count(0, kMostChannels)), shape.rows = int(from.count(kSplines));
    shape.angular = from.integer() != 0, shape.norm = from.integer() != 0, shape.eps = from.number();
    const int64_t* widths = from.array<int64_t>(-1);
    for (int64_t k = 0; k < from.last(); ++k) {
        if (widths[k] < 1 || widths[k] > kMostChannels) throw std::runtime_error("a size is out of range");
        shape.readout.push_back(widths[k]);
    }
    Invariants<T> invariants = invariants_of<T>(from);
    if (shape.angular && shape.radial != invariants.n) throw std::runtime_error("the radial functions do not agree");
    return capsule(new Tape<T>(shape, std::move(invariants)), kTape<T>);
}

// atoms, then the pairs and their sphere
template <class T> Surroundings<T> surroundings(const Tape<T>& tape, Arguments& from) {
    Surroundings<T> at{};
    at.atoms = from.count();
    at.pairs = pair_list<T>(from, at.atoms, tape.rows());
    at.sphere = sphere<T>(from, at.pairs.n), at.units = at.sphere.units;
    if (at.sphere.harmonics != tape.harmonics()) throw std::runtime_error("the harmonics are not those of the network");
    return at;
}

template <class T> void read_weights(Tape<T>& tape, Arguments& from, bool bars) {
    tape.weights([&](Weight<T>& weight, int64_t size) { weight.value = from.array<T>(size); });
    tape.weights([&](Weight<T>& weight, int64_t size) { weight.bar = bars ? from.array<T>(size, true) : nullptr; });
}

// The four passes of tape.hpp: tape, surroundings, weights, for the last two their gradients, then the arrays of the pass.
template <class T> PyObject* run_tape(Arguments& from, int pass) {
    auto& tape = *open<Tape<T>>(from.object(), kTape<T>);
    const Surroundings<T> at = surroundings<T>(tape, from);
    tape.check(at, pass);
    read_weights<T>(tape, from, pass > 1);
    const int64_t slopes = 3 * at.pairs.n;
    if (pass == 0) tape.forward(at, from.array<T>(at.atoms, true));
    if (pass == 1) {
        const T* bar = from.array<T>(at.atoms);
        tape.reverse(at, bar, from.array<T>(slopes, true));
    }
    if (pass == 2) {
        const T* u = from.array<T>(slopes);
        tape.second(at, u, from.array<T>(at.atoms, true));
    }
    if (pass == 3) tape.finish(at, from.array<T>(at.atoms));
    tape.passed(pass);
    Py_RETURN_NONE;
}

PyObject* make_tape(PyObject*, PyObject* args) {
    return guarded([&] {
        Arguments from(args);
        return from.integer() == 32 ? new_tape<float>(from) : new_tape<double>(from);
    });
}

template <int Pass> PyObject* tape_pass(PyObject*, PyObject* args) {
    return guarded([&] {
        Arguments from(args);
        return from.integer() == 32 ? run_tape<float>(from, Pass) : run_tape<double>(from, Pass);
    });
}

template <void (*Single)(Arguments&), void (*Double)(Arguments&)> PyObject* in_bits(PyObject*, PyObject* args) {
    return guarded([&]() -> PyObject* {
        Arguments from(args);
        if (from.integer() == 32) Single(from);
        else Double(from);
        Py_RETURN_NONE;
    });
}

#define RU_TRAINING(name, call) {name, in_bits<call<float>, call<double>>, METH_VARARGS, "See training_module.hpp."}
#define RU_PASS(name, pass) {name, tape_pass<pass>, METH_VARARGS, "See training_module.hpp."}
#define RU_TRAINING_METHODS                                                                   \
    RU_TRAINING("pair_weights", call_weights), RU_TRAINING("pair_harmonics", call_harmonics), \
        {"tape", make_tape, METH_VARARGS, "See tape.hpp."}, RU_PASS("tape_forward", 0),       \
        RU_PASS("tape_reverse", 1), RU_PASS("tape_second", 2), RU_PASS("tape_finish", 3)

}  // namespace
