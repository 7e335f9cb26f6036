// The Python module base_fast._C_cuda. Importing it registers the kernels under the CUDA key.
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030a0000
#endif
#include <Python.h>

#include <string>

#include "../cpu/torch/registration.h"

namespace {

// As JSON: the compiler, the architectures and the kernels' signatures.
PyObject* facts(PyObject*, PyObject*) {
  const std::string json = "{\"compiler\": \"nvcc " BF_NVCC "\", \"architectures\": " BF_ARCHITECTURES
                           ", \"signatures\": " +
                           base_fast::signatures_json() + "}";
  return PyUnicode_FromString(json.c_str());
}

PyMethodDef methods[] = {
    {"facts", facts, METH_NOARGS, "Compiler, architectures and the kernels' signatures, as JSON."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_C_cuda", "Compiled CUDA kernels.", -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__C_cuda() { return PyModule_Create(&definition); }
