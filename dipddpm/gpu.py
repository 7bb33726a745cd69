"""Work on a GPU without waiting for it: copies that overlap with work, and functions as CUDA graphs.

Python takes about as long to start an operation as a GPU takes to run a small one. A graph starts all operations of a
function at once, and each time on the same memory. So the shapes must be fixed. The function must not draw random
numbers on the CPU, and no operation in it may wait for the GPU.

Reference: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import gc
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dipddpm.errors import first_line

log = logging.getLogger(__name__)
WARM_UPS = 2  # calls before a capture: libraries load their kernels and take their memory in the first ones
MOST = 4  # graphs of a function: each keeps the memory of its intermediate results


def can_capture(tensor: Tensor) -> bool:
    """Return whether functions of this tensor run as CUDA graphs."""
    return tensor.device.type == "cuda"


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device. A copy to a GPU overlaps with the work that the GPU has."""
    if device.type != "cuda" or tensor.device == device:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def fetched(tensor: Tensor) -> Tensor:
    """Return a contiguous copy on the CPU. A copy from a GPU is whole once `reached` is."""
    return tensor.detach().to("cpu", non_blocking=tensor.is_cuda, copy=True, memory_format=torch.contiguous_format)


def unpinned(tensor: Tensor) -> Tensor:
    """Return a tensor on the CPU in ordinary memory, to be kept: itself, or a copy of what `fetched` gave.

    Memory that a GPU copies to is slow to get. So the next copies use that of the ones before.
    """
    return torch.from_numpy(tensor.numpy().copy()) if tensor.is_pinned() else tensor


def reached(tensor: Tensor) -> torch.cuda.Event | None:
    """Return an event that a GPU reaches after the work that it has so far; None where the tensor is on a CPU."""
    if not tensor.is_cuda:
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(tensor.device))
    return event


def release() -> None:
    """Give memory back to the GPU that nothing uses: that of ended fits, and what torch keeps for later tensors."""
    gc.collect()  # Lightning's Trainer and a module hold each other
    torch.cuda.empty_cache()


class Captured:
    """A function as a CUDA graph, for arguments of fixed shapes on one GPU.

    Args:
        function: A function of tensors, which returns a tensor or a tuple of tensors. It is called `WARM_UPS` times and
            then captured. A function that changes a state, such as that of an optimiser, changes it in these calls.
        *examples: The first arguments. The first one names the GPU.

    Attributes:
        inputs: Copies of the arguments. The graph reads them.
        outputs: The result of the function. Each replay overwrites it.

    Raises:
        RuntimeError: Where the function cannot be captured.
    """

    def __init__(self, function: Callable[..., Any], *examples: Tensor) -> None:
        device = examples[0].device
        self.function = function  # the graph reads the memory of all tensors that the function holds
        self.inputs = tuple(one.detach().to(device, copy=True) for one in examples)
        self.graph = torch.cuda.CUDAGraph()
        current, own = torch.cuda.current_stream(device), torch.cuda.Stream(device)
        with torch.cuda.stream(current):  # a capture that fails leaves its own stream as the current one
            own.wait_stream(current)
            with torch.cuda.stream(own):
                for _ in range(WARM_UPS):
                    function(*self.inputs)
            current.wait_stream(own)
            # thread_local: work of other threads, such as a writer of events, does not disturb the capture.
            _forget_workspaces()
            with torch.cuda.graph(self.graph, stream=own, capture_error_mode="thread_local"):
                self.outputs = function(*self.inputs)
            _forget_workspaces()

    def replay(self) -> None:
        """Start the graph: it reads `inputs` and overwrites `outputs`."""
        self.graph.replay()

    def __call__(self, *arguments: Tensor) -> Tensor:
        """Return a copy of the function's result, a tensor, for other arguments of the same shapes."""
        for own, given in zip(self.inputs, arguments, strict=True):
            own.copy_(given, non_blocking=True)
        self.replay()
        return self.outputs.clone()


def _forget_workspaces() -> None:
    """Let cuBLAS take new memory for its matrix products, which in a capture is the graph's own.

    Otherwise a graph would use memory that others free: Lightning frees the workspaces at the end of each fit.
    """
    if forget := getattr(torch._C, "_cuda_clearCublasWorkspaces", None):
        forget()


class Graphs:
    """A function of tensors, as one CUDA graph for each shape of its arguments. The `MOST` newest graphs are kept.

    The function is called without a graph where the first argument is not on a GPU, where a gradient is wanted, and
    where a capture fails. The log names a capture that failed. A graph is captured without gradients and outside
    ``torch.inference_mode``, whatever the modes of the first call are.

    Args:
        function: A function of tensors, which returns a tensor.
        name: The function's name in the log.
        held: The tensors that the function reads beside its arguments. Where one of them has moved, its graphs would
            read freed memory, and new ones are captured.
    """

    def __init__(self, function: Callable[..., Tensor], name: str, held: Sequence[Tensor] = ()) -> None:
        self.function, self.name, self.held = function, name, held
        self._graphs: OrderedDict[Any, Captured | None] = OrderedDict()

    def __call__(self, *arguments: Tensor) -> Tensor:
        wanted = torch.is_grad_enabled() and any(one.requires_grad for one in arguments)
        if wanted or not can_capture(arguments[0]):
            return self.function(*arguments)
        places = tuple(one.data_ptr() for one in self.held)
        key = (arguments[0].device, places, *((one.shape, one.dtype) for one in arguments))
        if key not in self._graphs:
            self._graphs[key] = self._captured(arguments)
            if len(self._graphs) > MOST:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        graph = self._graphs[key]
        return self.function(*arguments) if graph is None else graph(*arguments)

    def _captured(self, examples: tuple[Tensor, ...]) -> Captured | None:
        try:
            with torch.inference_mode(False), torch.no_grad():
                return Captured(self.function, *examples)
        except RuntimeError as error:
            log.warning("%s runs without a CUDA graph: %s", self.name, first_line(error))
            return None
