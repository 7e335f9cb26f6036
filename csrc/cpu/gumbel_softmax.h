// Rows [begin, end) of (rows, length) tensors.
namespace base_fast {
namespace BF_ISA {

// Reads logits and writes z and, unless it is null, the log-density, to which `constant` = log Γ(L) + (L−1)·log τ adds.
template <class T>
void gumbel_softmax(const T* logits, T* z, T* log_density, int64_t begin, int64_t end, int64_t length, Key key,
                    double tau, bool hard, double noise, double constant);

// Reads z, its gradient and, unless it is null, that of the log-density; writes the gradient for the logits.
template <class T>
void gumbel_softmax_backward(const T* grad, const T* grad_density, const T* z, T* d_logits, int64_t begin, int64_t end,
                             int64_t length, double tau);

}  // namespace BF_ISA
}  // namespace base_fast
