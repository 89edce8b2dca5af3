"""Interface of a backend, and estimates of its time.

The estimates are linear models of a few counts that follow from the shapes.
tools/benchmarks/fit_op_dispatch.py fits their coefficients to measurements.
"""

from typing import Optional, Tuple, Type

import torch
from torch import Tensor

from ..problem import Problem
from .coefficients import COEFFICIENTS

# An algorithm must be estimated to be faster than PyTorch's own by this share,
# because the estimates are off by as much and PyTorch's own is never a loss.
REQUIRED_GAIN = 0.12
# From this many bytes on, malloc requests a tensor from the system at every
# call (glibc's largest threshold), and its pages cost more than the
# arithmetic.
REUSED_BYTES = 32 << 20

# Key of the coefficients of a linear model, and its counts.
Counts = Tuple[str, Tuple[float, ...]]
Gradients = Tuple[Optional[Tensor], Optional[Tensor]]


def first_line(error: Exception) -> str:
    """Type and first line of an error; compilers append pages."""
    return f'{type(error).__name__}: {error}'.splitlines()[0]


class Backend:
    """One method to compute the convolution and its gradients.

    To add one, write a file in this folder with a subclass, and add it to the
    tuple in ``__init__.py``. The methods down to :meth:`backward` are
    required, the others are optional. Directions are 'forward', 'grad_input'
    and 'grad_weight'.

    Attributes:
        name: What users call it.
        algorithms: Names of its algorithms; no two backends share one.
    """

    name: str
    algorithms: Tuple[str, ...]

    def why_not(self, device: str, dtype: torch.dtype) -> Optional[str]:
        """Return why it cannot run on a type of device, or None."""
        raise NotImplementedError

    def features(
        self, problem: Problem, direction: str, algorithm: str
    ) -> Counts:
        """Return name and counts of the linear model of an algorithm's time.

        Elements and points are counted in millions.
        """
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Optional[Tensor],
        relu: bool,
        algorithm: str,
        reuse: str,
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """Return output (N, C, H, W) and what is kept of input and weight.

        Args:
            x: Shape (N, C, H, W).
            weight: Shape (C, 1, Kh, Kw).
            bias: Shape (C,).
            relu: Apply ReLU to the output.
            algorithm: One of ``algorithms``.
            reuse: 'keep' returns two tensors for :meth:`backward`, shaped like
                those of :meth:`empty_kept`; 'cache' may remember what depends
                only on the weight; 'drop' must not. Without 'keep' both
                tensors are empty.
        """
        raise NotImplementedError

    def backward(
        self,
        grad: Tensor,
        x: Tensor,
        weight: Tensor,
        grad_input_by: Optional[str],
        grad_weight_by: Optional[str],
        kept_input: Optional[Tensor],
        kept_weight: Optional[Tensor],
    ) -> Gradients:
        """Gradients (N, C, H, W) and (C, 1, Kh, Kw).

        Args:
            grad: Gradient of the output, shape (N, C, H, W).
            x: Shape (N, C, H, W).
            weight: Shape (C, 1, Kh, Kw).
            grad_input_by: Algorithm of the input gradient, None for none.
            grad_weight_by: Algorithm of the weight gradient, None for none.
            kept_input: From :meth:`forward` with 'keep', else None.
            kept_weight: Likewise.
        """
        raise NotImplementedError

    def algorithms_for(self, device: str, direction: str) -> Tuple[str, ...]:
        """The algorithms that compute a direction on a type of device."""
        return self.algorithms

    def cost(
        self, problem: Problem, direction: str, algorithm: str
    ) -> Optional[float]:
        """Return milliseconds, or None if nothing was measured."""
        return estimate(problem, self.features(problem, direction, algorithm))

    def required_gain(
        self, problem: Problem, direction: str, algorithm: str
    ) -> float:
        """Return the share by which it must be faster than PyTorch's own."""
        return REQUIRED_GAIN

    def is_preferred_unmeasured(self, problem: Problem) -> bool:
        """Whether to use it if PyTorch's own was not measured."""
        return False

    def can_keep(self, problem: Problem) -> bool:
        """Whether a forward may keep something for the weight gradient."""
        return False

    def empty_kept(self, x: Tensor, weight: Tensor) -> Tuple[Tensor, Tensor]:
        """Allocate what :meth:`forward` returns with 'keep'."""
        return x.new_empty(0), x.new_empty(0)

    def saved(self, problem: Problem, kept: bool, both: bool) -> float:
        """Return the milliseconds that the directions save each other.

        Args:
            problem: The call.
            kept: The forward keeps something for the weight gradient.
            both: It computes both gradients.
        """
        return 0.0

    def tune(
        self,
        problem: Problem,
        direction: str,
        x: Tensor,
        weight: Tensor,
        grad: Tensor,
    ) -> None:
        """Find its best parameters, before its algorithms are timed."""

    def failures(self) -> Tuple[Type[Exception], ...]:
        """Return the errors after which 'auto' continues without it."""
        return ()

    def give_up(self, error: Exception) -> None:
        """Remember a failure, which :meth:`why_not` reports from now on."""


def estimate(problem: Problem, model: Counts) -> Optional[float]:
    """Milliseconds by a linear model, or None if none was fitted."""
    key, counts = model
    table = COEFFICIENTS.get(machine(problem.device), {})
    weights = table.get(f'{arithmetic(problem)}/{key}')
    weights = weights or table.get(f'float32/{key}')
    if weights is None:
        return None
    return sum(a * b for a, b in zip(weights, counts, strict=True))


def machine(device: str, instructions: Optional[str] = None) -> str:
    """Return the name of a type of device in the table of coefficients.

    The name of a CPU includes its instruction set, because oneDNN uses other
    algorithms with AVX-512 than without. There are no measurements for a build
    without MKL.

    Args:
        device: Such as 'cpu' or 'cuda'.
        instructions: Instruction set, in PyTorch's terms. Defaults to the one
            that PyTorch uses.
    """
    if device != 'cpu':
        return device
    if instructions is None:
        if not torch.backends.mkl.is_available():
            return 'cpu without MKL'
        instructions = torch.backends.cpu.get_cpu_capability()
    return 'cpu AVX512' if instructions == 'AVX512' else 'cpu AVX2'


def arithmetic(problem: Problem) -> str:
    """The table's name for a type; 'ieee' is float32 on CUDA without TF32."""
    dtype = str(problem.dtype).rpartition('.')[2]
    if problem.device == 'cuda' and dtype == 'float32' and not problem.tf32:
        return 'ieee'
    return dtype


def new_elements(problem: Problem) -> float:
    """Millions of elements of an output that malloc requests again."""
    size = problem.elements * problem.dtype.itemsize
    return problem.elements / 1e6 if size >= REUSED_BYTES else 0.0
