// The Python module of one instruction set: its functions, and which instruction sets this processor has.
#pragma once
#include "inference/python.hpp"
#include "training/python.hpp"

namespace {

// Names of the instruction sets that this processor has, of those that modules are built for.
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

template <PyObject* (*Call)(ru::Arguments&)> PyObject* call(PyObject*, PyObject* tuple) {
    return ru::guarded([&] {
        ru::Arguments arguments(tuple);
        return Call(arguments);
    });
}

PyMethodDef methods[] = {
    {"model", call<ru::inference::new_model>, METH_VARARGS, "model(spec, bits): a packed network."},
    {"workspace", call<ru::inference::new_workspace>, METH_VARARGS,
     "workspace(bits): memory that is kept between evaluations."},
    {"plan", call<ru::inference::new_plan>, METH_VARARGS,
     "plan(first, second, image, positions, frames, n_frames, threads, directed, cutoff)."},
    {"evaluate", call<ru::inference::call_evaluate>, METH_VARARGS,
     "evaluate(bits, model, workspace, plan, positions, images, energies, forces, virial, mahalanobis, virials): fills "
     "the last five."},
    {"set_zero", call<ru::inference::set_zero>, METH_VARARGS,
     "set_zero(bits, model, value): added to every atom's energy, eV."},
    {"memory", call<ru::inference::memory>, METH_VARARGS, "memory(bits, workspace, plan): bytes of each."},
    {"processor", processor, METH_NOARGS, "processor(): instruction sets of this processor that modules exist for."},
    {"pair_weights", call<ru::training::call_weights>, METH_VARARGS,
     "pair_weights(bits, cutoff, switch, intervals, vectors, interval, weights, units): fills the last three."},
    {"pair_harmonics", call<ru::training::call_harmonics>, METH_VARARGS,
     "pair_harmonics(bits, l_max, raising terms, vectors, y, dy): fills the last two."},
    {"tape", call<ru::training::new_tape>, METH_VARARGS, "A tape for the four passes; see training/tape.hpp."},
    {"tape_forward", call<ru::training::run_tape<ru::training::Pass::forward>>, METH_VARARGS,
     "Fills the last argument: energies."},
    {"tape_reverse", call<ru::training::run_tape<ru::training::Pass::reverse>>, METH_VARARGS,
     "Adds to the last argument: slopes."},
    {"tape_second", call<ru::training::run_tape<ru::training::Pass::second>>, METH_VARARGS,
     "Fills the last argument, adds to gradients."},
    {"tape_finish", call<ru::training::run_tape<ru::training::Pass::finish>>, METH_VARARGS, "Adds to gradients."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          RU_NAME,
                          "Compiled passes of the engine and of fits.",
                          0,
                          methods,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

#define RU_JOIN_(a, b) a##b
#define RU_JOIN(a, b) RU_JOIN_(a, b)
PyMODINIT_FUNC RU_JOIN(PyInit_, RU_MODULE)(void) { return PyModule_Create(&definition); }
