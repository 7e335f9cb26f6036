// Elements [begin, end) of flat vectors.
namespace base_fast {
namespace BF_ISA {

// Reads the prior and `count` adapted vectors, writes the new prior.
template <class T>
void outer_step(const T* prior, const T* const* adapted, int64_t count, double step_size, T* after, int64_t begin,
                int64_t end);

}  // namespace BF_ISA
}  // namespace base_fast
