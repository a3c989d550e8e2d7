// The Python functions of the engine: models, plans and workspaces as capsules, and `evaluate`.
#pragma once
#include "../common/arguments.hpp"
#include "evaluate.hpp"

namespace ru::inference {

constexpr const char* kPlan = "ru_calc.plan";
template <class T> constexpr const char* kModel = sizeof(T) == 4 ? "ru_calc.model32" : "ru_calc.model64";
template <class T> constexpr const char* kWorkspace = sizeof(T) == 4 ? "ru_calc.workspace32" : "ru_calc.workspace64";

inline Spec spec_of(PyObject* dict) {
    if (!PyDict_Check(dict)) throw std::runtime_error("a model is made from a dict of arrays and numbers");
    return {[dict](const std::string& name) -> std::vector<double> {
                PyObject* item = PyDict_GetItemString(dict, name.c_str());
                if (!item) return {};
                Arrays held;
                const double* numbers = held.array<const double>(item, name);
                return {numbers, numbers + held.last()};
            },
            [dict](const std::string& name) -> double {
                PyObject* item = PyDict_GetItemString(dict, name.c_str());
                const double value = item ? PyFloat_AsDouble(item) : 0.0;
                if (!item) PyErr_Format(PyExc_KeyError, "%s", name.c_str());
                if (PyErr_Occurred()) throw PythonError();
                return value;
            }};
}

// Releases the interpreter while f runs, whether it throws or not.
template <class F> inline void unlocked(F f) {
    struct Released {
        PyThreadState* state = PyEval_SaveThread();
        ~Released() { PyEval_RestoreThread(state); }
    } released;
    f();
}

inline PyObject* new_model(Arguments& from) {
    const Spec spec = spec_of(from.object());
    return from.in_bits([&](auto number) {
        using T = decltype(number);
        return capsule(new Model<T>(spec), kModel<T>);
    });
}

inline PyObject* new_workspace(Arguments& from) {
    return from.in_bits([](auto number) {
        using T = decltype(number);
        return capsule(new Workspace<T>(), kWorkspace<T>);
    });
}

// first, second, image, positions, frames, n_frames, threads, directed, cutoff
inline PyObject* new_plan(Arguments& from) {
    PairTable table{};
    table.first = from.array<const int64_t>(-1, "first"), table.n_pairs = from.last();
    table.second = from.array<const int64_t>(table.n_pairs, "second");
    table.image = from.array<const int64_t>(table.n_pairs, "image");
    table.positions = from.array<const double>(-1, "positions");
    const int64_t n = from.last() / 3;
    table.frame = from.array<const int64_t>(n, "frames"), table.n_atoms = int(n);
    check_pairs(table.n_pairs, table.first, table.second, n);
    table.n_frames = int(from.count());
    const auto [least, most] = std::minmax_element(table.frame, table.frame + n);
    if (n && (*least < 0 || *most >= table.n_frames))
        throw std::runtime_error("an atom is in a frame that does not exist");
    if (table.n_pairs && *std::min_element(table.image, table.image + table.n_pairs) < 0)
        throw std::runtime_error("the index of an image is negative");
    const int threads = int(from.count(1)), directed = int(from.integer());
    const double cutoff = from.number();
    auto made = std::make_unique<Plan>();
    unlocked([&] { *made = make_plan(table, threads, directed != 0, cutoff); });
    return capsule(made.release(), kPlan);
}

// bits, model, workspace, plan, positions, images, energies, and each or None: forces, virial, mahalanobis, virials
inline PyObject* call_evaluate(Arguments& from) {
    return from.in_bits([&](auto number) {
        using T = decltype(number);
        const auto& model = *open<Model<T>>(from.object(), kModel<T>);
        auto& memory = *open<Workspace<T>>(from.object(), kWorkspace<T>);
        const auto& plan = *open<Plan>(from.object(), kPlan);
        if (model.angular && !plan.directed)
            throw std::runtime_error("an angular model needs a plan with directed pairs");
        Request request{};
        request.positions = from.array<const double>(3 * plan.n_atoms, "positions");
        request.images = from.array<const double>(-1, "images");
        if (from.last() < 3 * plan.n_images) throw std::runtime_error("there are fewer images than the plan refers to");
        request.energies = from.array<double>(plan.n_atoms, "energies");
        request.forces = from.optional<double>(3 * plan.n_atoms, "forces");
        request.virial = from.optional<double>(6 * plan.n_frames, "virial");
        request.mahalanobis = from.optional<double>(plan.n_atoms, "mahalanobis");
        request.virials = from.optional<double>(6 * plan.n_atoms, "virials");
        if (request.mahalanobis && !model.whitened_bias.size)
            throw std::runtime_error("the model has no covariance of its training atoms");
        unlocked([&] {
            std::lock_guard<std::mutex> lock(memory.busy);
            evaluate<T>(model, plan, request, memory);
        });
        Py_RETURN_NONE;
    });
}

// bits, model, eV
inline PyObject* set_zero(Arguments& from) {
    return from.in_bits([&](auto number) {
        using T = decltype(number);
        auto& model = *open<Model<T>>(from.object(), kModel<T>);
        model.zero = from.number();
        Py_RETURN_NONE;
    });
}

// bits, workspace, plan
inline PyObject* memory(Arguments& from) {
    return from.in_bits([&](auto number) {
        using T = decltype(number);
        const auto& memory = *open<Workspace<T>>(from.object(), kWorkspace<T>);
        return Py_BuildValue("nn", Py_ssize_t(memory.bytes()), Py_ssize_t(open<Plan>(from.object(), kPlan)->bytes()));
    });
}

}  // namespace ru::inference
