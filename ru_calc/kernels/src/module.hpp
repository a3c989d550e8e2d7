// The Python module: models, plans and workspaces as capsules, and `evaluate`.  No state of its own.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "network.hpp"

namespace {

using namespace ru;

struct PythonError {};  // an exception is set

// A contiguous buffer of a given item type.
class View {
  public:
    View(PyObject* object, const char* format, const char* name, Py_ssize_t items = -1) {
        if (PyObject_GetBuffer(object, &view_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (items == -2 ? PyBUF_WRITABLE : 0)))
            throw PythonError();
        const char* found = view_.format ? view_.format : "B";
        const bool integer = *format == 'q' && (*found == 'l' || *found == 'q');
        if (view_.itemsize != 8 || !(integer || *found == *format)) {
            PyBuffer_Release(&view_);
            PyErr_Format(PyExc_TypeError, "%s must be a contiguous array of %s", name, *format == 'd' ? "float64" : "int64");
            throw PythonError();
        }
    }
    ~View() { PyBuffer_Release(&view_); }
    View(const View&) = delete;
    double* doubles() const { return static_cast<double*>(view_.buf); }
    int64_t* integers() const { return static_cast<int64_t*>(view_.buf); }
    Py_ssize_t size() const { return view_.len / 8; }

  private:
    Py_buffer view_;
};

constexpr const char *kModel32 = "ru_calc.model32", *kModel64 = "ru_calc.model64", *kPlan = "ru_calc.plan";
constexpr const char *kWork32 = "ru_calc.workspace32", *kWork64 = "ru_calc.workspace64";

template <class X> void destroy(PyObject* capsule) {
    delete static_cast<X*>(PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule)));
}
template <class X> PyObject* capsule(X* object, const char* name) {
    PyObject* made = PyCapsule_New(object, name, destroy<X>);
    if (!made) delete object;
    return made;
}
template <class X> X* open(PyObject* object, const char* name) {
    auto* found = static_cast<X*>(PyCapsule_GetPointer(object, name));
    if (!found) throw PythonError();
    return found;
}

// Runs f and turns C++ exceptions into Python's.
template <class F> PyObject* guarded(F f) {
    try {
        return f();
    } catch (const PythonError&) {
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (const std::exception& problem) {
        PyErr_SetString(PyExc_RuntimeError, problem.what());
    }
    return nullptr;
}

}  // namespace

#include "training_module.hpp"

namespace {

Spec spec_of(PyObject* dict) {
    return {[dict](const std::string& name) -> std::vector<double> {
                PyObject* item = PyDict_GetItemString(dict, name.c_str());
                if (!item) return {};
                View view(item, "d", name.c_str());
                return {view.doubles(), view.doubles() + view.size()};
            },
            [dict](const std::string& name) -> double {
                PyObject* item = PyDict_GetItemString(dict, name.c_str());
                const double value = item ? PyFloat_AsDouble(item) : 0.0;
                if (!item) PyErr_Format(PyExc_KeyError, "%s", name.c_str());
                if (PyErr_Occurred()) throw PythonError();
                return value;
            }};
}

PyObject* model(PyObject*, PyObject* args) {
    PyObject* dict;
    int bits;
    if (!PyArg_ParseTuple(args, "O!i", &PyDict_Type, &dict, &bits)) return nullptr;
    return guarded([&]() -> PyObject* {
        if (bits == 32) return capsule(new Model<float>(spec_of(dict)), kModel32);
        return capsule(new Model<double>(spec_of(dict)), kModel64);
    });
}

PyObject* workspace(PyObject*, PyObject* args) {
    int bits;
    if (!PyArg_ParseTuple(args, "i", &bits)) return nullptr;
    if (bits == 32) return capsule(new Workspace<float>(), kWork32);
    return capsule(new Workspace<double>(), kWork64);
}

PyObject* plan(PyObject*, PyObject* args) {
    PyObject *first, *second, *image, *positions, *frames;
    int n_frames, threads, directed;
    double cutoff;
    if (!PyArg_ParseTuple(args, "OOOOOiipd", &first, &second, &image, &positions, &frames, &n_frames, &threads,
                          &directed, &cutoff))
        return nullptr;
    return guarded([&]() -> PyObject* {
        View i(first, "q", "first"), j(second, "q", "second"), k(image, "q", "image");
        View x(positions, "d", "positions"), f(frames, "q", "frames");
        const Py_ssize_t n = f.size();
        if (x.size() != 3 * n || i.size() != j.size() || i.size() != k.size())
            throw std::runtime_error("sizes of the pairs or positions do not agree");
        for (Py_ssize_t p = 0; p < i.size(); ++p)
            if (i.integers()[p] < 0 || i.integers()[p] >= n || j.integers()[p] < 0 || j.integers()[p] >= n)
                throw std::runtime_error("a pair names an atom that is not there");
        std::unique_ptr<Plan> made;
        Py_BEGIN_ALLOW_THREADS
        made = std::make_unique<Plan>(make_plan(int(n), n_frames, i.size(), i.integers(), j.integers(), k.integers(),
                                                x.doubles(), f.integers(), threads, directed != 0, cutoff));
        Py_END_ALLOW_THREADS
        return capsule(made.release(), kPlan);
    });
}

template <class T>
PyObject* evaluate_as(PyObject* model_, PyObject* work_, const Plan& plan, const Request& request) {
    auto* m = open<Model<T>>(model_, sizeof(T) == 4 ? kModel32 : kModel64);
    auto* w = open<Workspace<T>>(work_, sizeof(T) == 4 ? kWork32 : kWork64);
    if (m->angular && !plan.directed) throw std::runtime_error("an angular model needs a plan of directed pairs");
    Py_BEGIN_ALLOW_THREADS
    {
        std::lock_guard<std::mutex> lock(w->busy);
        Step<T>(*m, plan, *w, request).run();
    }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

// evaluate(bits, model, workspace, plan, positions, images, energies, forces or None, virial or None)
PyObject* evaluate(PyObject*, PyObject* args) {
    int bits;
    PyObject *model_, *work_, *plan_, *positions, *images, *energies, *forces, *virial;
    if (!PyArg_ParseTuple(args, "iOOOOOOOO", &bits, &model_, &work_, &plan_, &positions, &images, &energies, &forces,
                          &virial))
        return nullptr;
    return guarded([&]() -> PyObject* {
        const Plan& plan = *open<Plan>(plan_, kPlan);
        View x(positions, "d", "positions"), s(images, "d", "images"), e(energies, "d", "energies", -2);
        std::unique_ptr<View> f, v;
        if (forces != Py_None) f = std::make_unique<View>(forces, "d", "forces", -2);
        if (virial != Py_None) v = std::make_unique<View>(virial, "d", "virial", -2);
        if (x.size() != 3 * plan.n_atoms || e.size() != plan.n_atoms || (f && f->size() != 3 * plan.n_atoms) ||
            (v && v->size() != 6 * plan.n_frames) || s.size() < 3 * plan.n_images)
            throw std::runtime_error("sizes of the arrays do not agree with the plan");
        const Request request{x.doubles(), s.doubles(), f != nullptr, v != nullptr, e.doubles(),
                              f ? f->doubles() : nullptr, v ? v->doubles() : nullptr};
        return bits == 32 ? evaluate_as<float>(model_, work_, plan, request)
                          : evaluate_as<double>(model_, work_, plan, request);
    });
}

// set_zero(bits, model, eV): what is added to every atom's energy.
PyObject* set_zero(PyObject*, PyObject* args) {
    int bits;
    PyObject* model_;
    double value;
    if (!PyArg_ParseTuple(args, "iOd", &bits, &model_, &value)) return nullptr;
    return guarded([&]() -> PyObject* {
        if (bits == 32) open<Model<float>>(model_, kModel32)->zero = value;
        else open<Model<double>>(model_, kModel64)->zero = value;
        Py_RETURN_NONE;
    });
}

// memory(bits, workspace, plan) -> bytes of the workspace, bytes of the plan
PyObject* memory(PyObject*, PyObject* args) {
    int bits;
    PyObject *work_, *plan_;
    if (!PyArg_ParseTuple(args, "iOO", &bits, &work_, &plan_)) return nullptr;
    return guarded([&]() -> PyObject* {
        const size_t work = bits == 32 ? open<Workspace<float>>(work_, kWork32)->bytes()
                                       : open<Workspace<double>>(work_, kWork64)->bytes();
        return Py_BuildValue("nn", Py_ssize_t(work), Py_ssize_t(open<Plan>(plan_, kPlan)->bytes()));
    });
}

// processor() -> names of the instruction sets that this processor has, of those that modules are built for.
PyObject* processor(PyObject*, PyObject*) {
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512cd");
    if (avx512) return Py_BuildValue("(sss)", "avx512", "avx2", "base");
    if (avx2) return Py_BuildValue("(ss)", "avx2", "base");
#endif
    return Py_BuildValue("(s)", "base");
}

PyMethodDef methods[] = {
    RU_TRAINING_METHODS,
    {"model", model, METH_VARARGS, "model(spec, bits): a packed network."},
    {"workspace", workspace, METH_VARARGS, "workspace(bits): memory that is kept between evaluations."},
    {"plan", plan, METH_VARARGS, "plan(first, second, image, positions, frames, n_frames, threads, directed, cutoff)."},
    {"evaluate", evaluate, METH_VARARGS,
     "evaluate(bits, model, workspace, plan, positions, images, energies, forces, virial): fills the last three."},
    {"set_zero", set_zero, METH_VARARGS, "set_zero(bits, model, value): added to every atom's energy, eV."},
    {"memory", memory, METH_VARARGS, "memory(bits, workspace, plan): bytes of each."},
    {"processor", processor, METH_NOARGS, "processor(): instruction sets of this processor that modules exist for."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, RU_NAME, "Compiled passes of the engine.", 0, methods,
                          nullptr, nullptr, nullptr, nullptr};

}  // namespace

#define RU_JOIN_(a, b) a##b
#define RU_JOIN(a, b) RU_JOIN_(a, b)
PyMODINIT_FUNC RU_JOIN(PyInit_, RU_MODULE)(void) { return PyModule_Create(&definition); }
