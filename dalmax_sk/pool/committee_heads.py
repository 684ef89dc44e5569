"""Last layers on a shared body, trained together: the cheap committee."""

import logging

import torch

__all__ = ["fit_heads", "head_proba", "heads_at_once"]

logger = logging.getLogger("dalmax_sk")

# Iterations of L-BFGS, and the largest entry of the gradient it should end with.
_MAX_ITERATIONS, _TOLERANCE = 1000, 1e-6
# Vectors of the size of the weights that L-BFGS keeps: two histories and some more.
_HISTORY = 10
_SOLVER_VECTORS = 2 * _HISTORY + 8


def heads_at_once(n_weights, max_memory):
    """Return how many heads of `n_weights` weights may be trained together."""
    return max(1, max_memory // (8 * _SOLVER_VECTORS * n_weights))


def fit_heads(embeddings, y, counts, anchors, decay, *, device, max_memory):
    """Fit last layers by anchored, weighted multinomial logistic regression.

    With x_i the centred embedding of sample i, divided by the root mean square length
    of them all, each member minimises over its weights W and bias b

        sum_i counts_i CE(softmax(W x_i + b), y_i) + decay/2 |(W, b) - anchor|²

    which is strongly convex. All members are one problem to L-BFGS.

    Parameters
    ----------
    embeddings : ndarray of shape (m, d)
    y : ndarray of int of shape (m,)
        Classes 0 .. S-1.
    counts : ndarray of shape (M, m)
        Weight of each sample for each member.
    anchors : ndarray of shape (M, S, d + 1)
        Initial weights, towards which the weights decay; the last column is the bias.
    decay : float
    device : torch.device
    max_memory : int
        Bytes for temporary blocks.

    Returns
    -------
    Tensor of shape (M, S, d + 1), on `device`
        Weights and bias for embeddings as they are, neither centred nor scaled.
    """
    n_members, n_classes, width = anchors.shape
    dtype = torch.float32 if device.type == "mps" else torch.float64
    X = torch.ones(len(embeddings), width, dtype=dtype, device=device)
    X[:, :-1] = torch.as_tensor(embeddings).to(device)
    mean = X[:, :-1].mean(dim=0)
    X[:, :-1] -= mean
    scale = X[:, :-1].square().sum(dim=1).mean().sqrt()
    if scale == 0:  # a single sample, or equal ones
        scale = torch.ones_like(scale)
    X[:, :-1] /= scale
    y = torch.as_tensor(y, device=device)[:, None, None]
    counts = torch.as_tensor(counts.T, dtype=dtype, device=device)  # (m, M)
    anchor = torch.as_tensor(anchors, dtype=dtype, device=device).flatten(0, 1)
    weight = anchor.clone().requires_grad_()
    rows = max(1, max_memory // (8 * 4 * n_members * n_classes))

    @torch.no_grad()
    def closure():
        """Return the objective, and leave its gradient in ``weight.grad``."""
        difference = weight - anchor
        loss = decay / 2 * difference.square().sum()
        weight.grad = decay * difference
        for x, target, count in zip(
            X.split(rows), y.split(rows), counts.split(rows), strict=True
        ):
            logits = (x @ weight.T).view(len(x), n_members, n_classes)
            target = target.expand(-1, n_members, 1)
            log_proba = logits.log_softmax(dim=2)
            loss -= (log_proba.gather(2, target).squeeze(2) * count).sum()
            error = log_proba.exp_()
            error.scatter_add_(2, target, error.new_full(target.shape, -1.0))
            error *= count[:, :, None]
            weight.grad += error.flatten(1).T @ x
        return loss

    solver = torch.optim.LBFGS(
        [weight],
        max_iter=_MAX_ITERATIONS,
        max_eval=2 * _MAX_ITERATIONS,
        tolerance_grad=_TOLERANCE,
        tolerance_change=0,
        history_size=_HISTORY,
        line_search_fn="strong_wolfe",
    )
    solver.step(closure)
    closure()
    gradient = float(weight.grad.abs().max())
    if not gradient < 1e-2:
        logger.warning(
            "The heads of a committee did not converge: the largest entry of the "
            "gradient is %.2g after %d iterations.",
            gradient,
            _MAX_ITERATIONS,
        )
    weight = weight.detach()
    weight[:, :-1] /= scale
    weight[:, -1] -= weight[:, :-1] @ mean
    return weight.view(n_members, n_classes, width)


def head_proba(embeddings, weight, max_memory):
    """Return the probabilities (n, S), float64, of one head on embeddings (n, d).

    Parameters
    ----------
    embeddings : ndarray of shape (n, d)
    weight : Tensor of shape (S, d + 1)
        The last column is the bias.
    max_memory : int
        Bytes for temporary blocks.
    """
    n_classes, width = weight.shape
    proba = torch.empty(len(embeddings), n_classes, dtype=torch.float64)
    rows = max(1, max_memory // (8 * (2 * width + 4 * n_classes)))
    for start in range(0, len(embeddings), rows):
        part = slice(start, start + rows)
        x = torch.as_tensor(embeddings[part]).to(weight.device).to(weight.dtype)
        logits = torch.addmm(weight[:, -1], x, weight[:, :-1].T)
        proba[part] = logits.double().softmax(dim=1)
    return proba.numpy()
