"""Farthest-first traversal of a few points that are kept exact, on CPU and GPU."""

import numpy as np
import torch

from dalmax_sk._base.limits import limits
from dalmax_sk.selection.kit.distances import expanded_squares, plain_squares

__all__ = ["greedy_on_cpu", "greedy_on_device"]


def greedy_on_cpu(
    points: torch.Tensor,
    shifted: torch.Tensor,
    bound: torch.Tensor,
    n: int,
    outside: float,
    ahead: torch.Tensor,
) -> tuple[list[int], list[float], torch.Tensor]:
    """Pick one at a time; evaluate exactly only what the new centre may come nearer to.

    The pairwise distances of the working set come from one matrix product; they and
    their margin rule out nearly all of a pick's pairs. NumPy, because its calls cost
    less than torch's on arrays of this size.
    """
    squares, margin = expanded_squares(shifted, shifted)  # (w, w), (w,)
    reach, margins = squares.numpy(), margin.numpy()
    rows, current, first = points.numpy(), bound.numpy().copy(), ahead.numpy()
    chosen: list[int] = []
    values: list[float] = []
    while len(chosen) < n:
        pick = int(current.argmax())  # the first of equals: members are by priority
        value = float(current[pick])
        if not (value > outside or (value == outside and first[pick])):
            break
        chosen.append(pick)
        values.append(value)
        current[pick] = -np.inf
        near = np.flatnonzero(reach[pick] <= current + margins)
        difference = rows[near] - rows[pick]
        exact = np.square(difference, out=difference).sum(axis=1)
        current[near] = np.minimum(current[near], exact)
    return chosen, values, torch.from_numpy(current)


def greedy_on_device(
    points: torch.Tensor,
    shifted: torch.Tensor,
    bound: torch.Tensor,
    n: int,
    outside: float,
    ahead: torch.Tensor,
) -> tuple[list[int], list[float], torch.Tensor]:
    """Pick many at a time without asking the device, then keep the picks that are sure.

    All distances are evaluated exactly: a GPU does that faster than it answers which
    ones could be skipped.
    """
    chosen: list[int] = []
    values: list[float] = []
    current = bound.clone()
    steps = torch.zeros(limits.device_steps, dtype=torch.int64, device=points.device)
    found = torch.zeros(limits.device_steps, dtype=bound.dtype, device=points.device)
    while len(chosen) < n:
        n_steps = min(limits.device_steps, n - len(chosen))
        before = current.clone()
        for step in range(n_steps):
            pick = current.argmax(dim=0, keepdim=True)  # (1,), the first of equals
            steps[step], found[step] = pick[0], current[pick[0]]
            _add_center(points, current, pick)
        sure = (found > outside) | ((found == outside) & ahead[steps])
        doubtful = (~sure[:n_steps]).nonzero()
        n_sure = int(doubtful[0]) if len(doubtful) else n_steps
        chosen += steps[:n_sure].tolist()
        values += found[:n_sure].tolist()
        if n_sure < n_steps:
            current = before
            for step in range(n_sure):
                _add_center(points, current, steps[step : step + 1])
            break
    return chosen, values, current


def _add_center(
    points: torch.Tensor, current: torch.Tensor, pick: torch.Tensor
) -> None:
    """Shrink ``current`` (w,) by the new centre ``pick`` (1,), in place."""
    exact = plain_squares(points, points[pick].squeeze(0))
    torch.minimum(current, exact, out=current)
    current.index_fill_(0, pick, -torch.inf)
