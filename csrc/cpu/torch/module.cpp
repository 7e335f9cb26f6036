// The Python module base_fast._C. Importing it registers the kernels; what it offers besides are facts about the build.
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030a0000
#endif
#include <Python.h>

#include <exception>
#include <string>

#include "../edge/primitives.h"
#include "fresh_memory.h"
#include "../isa/isa.h"
#include "../memory/poison.h"
#include "registration.h"

#ifndef BF_COMPILER
#if defined(__clang__)
#define BF_COMPILER "Clang " __clang_version__
#else
#define BF_COMPILER "GCC " __VERSION__
#endif
#endif

namespace {

// Calls f, turning what it throws into Python's ValueError.
template <class F>
PyObject* guarded(const F& f) {
  try {
    return f();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
    return nullptr;
  }
}

PyObject* facts(PyObject*, PyObject*) {
  return guarded([] {
    const std::string json =
        "{\"compiler\": \"" BF_COMPILER "\", \"matrix_unit\": " + std::string(base_fast::has_amx() ? "true" : "false") +
        ", \"primitives\": " + base_fast::primitives_json(6) + ", \"signatures\": " + base_fast::signatures_json() +
        "}";
    return PyUnicode_FromString(json.c_str());
  });
}

PyObject* isa(PyObject*, PyObject*) {
  return guarded([] { return PyUnicode_FromString(base_fast::name_of(base_fast::isa())); });
}

PyObject* select_isa(PyObject*, PyObject* name) {
  PyObject* bytes = PyUnicode_AsASCIIString(name);
  if (bytes == nullptr) return nullptr;
  PyObject* result = guarded([&] {
    base_fast::select_isa(PyBytes_AsString(bytes));
    Py_INCREF(Py_None);
    return Py_None;
  });
  Py_DECREF(bytes);
  return result;
}

PyObject* poison(PyObject*, PyObject* on) {
  const int wanted = PyObject_IsTrue(on);
  if (wanted < 0) return nullptr;
  base_fast::poisons = wanted == 1;
  Py_INCREF(Py_None);
  return Py_None;
}

PyObject* fresh_memory(PyObject*, PyObject*) {
  return guarded([] { return PyUnicode_FromString(base_fast::fresh_memory_json().c_str()); });
}

PyMethodDef methods[] = {
    {"facts", facts, METH_NOARGS,
     "Compiler, whether bfloat16 may use the matrix unit, primitives and the kernels' signatures, as JSON."},
    {"isa", isa, METH_NOARGS, "The instruction set in use: baseline, avx2 or avx512."},
    {"select_isa", select_isa, METH_O, "Use another instruction set, for tests and benchmarks."},
    {"poison", poison, METH_O, "Whether fresh memory, results' and kernels' own, is filled with NaN, for tests."},
    {"fresh_memory", fresh_memory, METH_NOARGS, "Each way to take memory and whether it gives poison, as JSON."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_C", "Compiled CPU kernels.", -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__C() {
  // A wrong BASE_FAST_ISA is refused here, where the error is still about it.
  if (guarded([] { return base_fast::isa(), Py_None; }) == nullptr) return nullptr;
  return PyModule_Create(&definition);
}
