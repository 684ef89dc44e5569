"""Compiled nets whose number of compilations does not grow with the data."""

import functools

import torch

__all__ = ["compile_module"]


def compile_module(module, **options):
    """Compile a module in place for batches of any size.

    The module keeps its class, its state dict and its pickle. Its first axis is marked
    as one that changes: the sizes of batches differ within a fit (nearly equal), from
    fit to fit (more labels), and at the end of a pool, and each would be compiled for
    itself. So there is one compilation for training, one for inference with embeddings
    and one for inference without, and modules of the same form share them.

    Parameters
    ----------
    module : nn.Module
        Called with a batch as its first argument.
    **options
        For :func:`torch.compile`.
    """
    module.compile(**options)
    # What torch calls in place of the module's forward; not part of its pickle.
    module._compiled_call_impl = functools.partial(
        _call, compiled=module._compiled_call_impl
    )


def _call(x, *args, compiled, **kwargs):
    torch._dynamo.maybe_mark_dynamic(x, 0)
    try:
        return compiled(x, *args, **kwargs)
    except torch._dynamo.exc.BackendCompilerFailed as error:
        raise RuntimeError(
            "compile=True, but torch.compile cannot compile the net here: "
            f"{str(error).splitlines()[0]} On a CPU it needs a C++ compiler (g++ or "
            "clang++; the environment variable CXX may name it), on a GPU Triton. "
            "Install what is missing, or pass compile=False."
        ) from error
