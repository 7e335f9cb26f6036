// The Python module base_fast_core: the torch-free core for tests with NumPy, on the instruction set of that name.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "core.h"

namespace py = pybind11;
using namespace base_fast;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

py::array noise(const std::string& isa, Noise kind, int64_t seed, int64_t offset, int64_t first, int64_t count,
                bool runs) {
  select_isa(isa.c_str());
  const int64_t step = runs ? run_length() : 4;
  py::array out =
      kind == Noise::words ? py::array(Array<uint32_t>(count * step)) : py::array(Array<float>(count * step));
  (runs ? BF_KERNEL(noise_runs) : BF_KERNEL(noise_blocks))(kind, {seed, offset}, first, count, out.mutable_data());
  return out;
}

Array<float> apply_function(const std::string& isa, Function function, const Array<float>& x) {
  select_isa(isa.c_str());
  Array<float> y(x.size());
  BF_KERNEL(apply)(function, x.data(), x.size(), y.mutable_data());
  return y;
}

void check_matrix(const py::array& x) {
  if (x.ndim() != 2) throw py::value_error("expected an array of two axes");
}
int64_t step(const py::array_t<float>& x, int axis) { return x.strides(axis) / int64_t(sizeof(float)); }

}  // namespace

PYBIND11_MODULE(base_fast_core, m) {
  py::enum_<Noise>(m, "Noise")
      .value("words", Noise::words)
      .value("uniform", Noise::uniform)
      .value("gumbel", Noise::gumbel)
      .value("normal", Noise::normal);
  py::enum_<Function>(m, "Function")
      .value("log", Function::log)
      .value("log_positive", Function::log_positive)
      .value("exp", Function::exp)
      .value("exp_negative", Function::exp_negative)
      .value("log1p_unit", Function::log1p_unit)
      .value("softplus", Function::softplus)
      .value("sigmoid", Function::sigmoid)
      .value("cos_turn", Function::cos_turn)
      .value("sin_turn", Function::sin_turn);
  m.def(
      "select", [](const std::string& isa) { select_isa(isa.c_str()); },
      "Raises RuntimeError where this CPU lacks the instruction set.");
  m.attr("RUN") = run_length();

  m.def(
      "philox",
      [](const std::string& isa, const Array<uint32_t>& counters, uint32_t key0, uint32_t key1) {
        select_isa(isa.c_str());
        Array<uint32_t> words({counters.size() / 4, py::ssize_t{4}});
        BF_KERNEL(philox)(counters.data(), counters.size() / 4, key0, key1, words.mutable_data());
        return words;
      },
      "Words (count, 4) of counters (count, 4).");
  m.def(
      "noise_blocks",
      [](const std::string& isa, Noise kind, int64_t seed, int64_t offset, int64_t first, int64_t blocks) {
        return noise(isa, kind, seed, offset, first, blocks, false);
      },
      "4·blocks elements from block `first` on, block by block.");
  m.def(
      "noise_runs",
      [](const std::string& isa, Noise kind, int64_t seed, int64_t offset, int64_t first, int64_t runs) {
        return noise(isa, kind, seed, offset, first, runs, true);
      },
      "RUN·runs elements from block `first` on, as kernels draw them.");
  m.def("apply", apply_function, "A function of every element.");
  m.def("to_bfloat16", [](const std::string& isa, const Array<float>& x) {
    select_isa(isa.c_str());
    Array<uint16_t> bits(x.size());
    BF_KERNEL(to_bfloat16)(x.data(), x.size(), bits.mutable_data());
    return bits;
  });
  m.def("from_bfloat16", [](const std::string& isa, const Array<uint16_t>& bits) {
    select_isa(isa.c_str());
    Array<float> x(bits.size());
    BF_KERNEL(from_bfloat16)(bits.data(), bits.size(), x.mutable_data());
    return x;
  });
  m.def(
      "pack",
      [](const std::string& isa, const py::array_t<float>& x) {
        check_matrix(x);
        select_isa(isa.c_str());
        Array<float> dense({x.shape(0), x.shape(1)});
        BF_KERNEL(pack)(x.data(), x.shape(0), x.shape(1), step(x, 0), step(x, 1), dense.mutable_data());
        return dense;
      },
      "An array of any strides as a dense one.");
  m.def(
      "unpack",
      [](const std::string& isa, const Array<float>& dense, py::array_t<float> x, bool streamed) {
        check_matrix(dense);
        select_isa(isa.c_str());
        BF_KERNEL(unpack)(dense.data(), x.shape(0), x.shape(1), step(x, 0), step(x, 1), streamed, x.mutable_data());
      },
      "Writes a dense array to one of any strides.", py::arg(), py::arg(), py::arg().noconvert(), py::arg());
  m.def(
      "moments",
      [](const std::string& isa, const Array<float>& x, const std::vector<int64_t>& chunks) {
        select_isa(isa.c_str());
        Array<double> mean(x.shape(0) * 16), square(x.shape(0) * 16);
        BF_KERNEL(moments)(x.data(), x.shape(0), x.shape(1), chunks.data(), int64_t(chunks.size()), mean.mutable_data(),
                           square.mutable_data());
        return std::pair(mean, square);
      },
      "Mean and Σ(x − mean)² per channel of x (blocks, pixels, 16), merged from chunks of so many pixels.");
}
