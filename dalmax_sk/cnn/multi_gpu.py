"""Training on several devices, one process each, as if they were one.

Each process takes its part of every batch, and the gradients are added up. What one
device would do once for the whole batch is done for the whole batch here too: the order
of the samples, the dropout masks, the statistics of batch normalisation, the mean of
the loss. So the net differs from that of one device by rounding only.
"""

import torch
import torch.distributed as dist
from skorch.hf import AccelerateMixin
from torch import nn

from dalmax_sk._base.processes import explain_lost_process, uses_gpus
from dalmax_sk._base.seeds import torch_seed
from dalmax_sk.cnn.batches import Batches
from dalmax_sk.cnn.skorch_net import BatchNet

__all__ = ["AccelerateNet", "ShardedBatches", "make_accelerator"]


def make_accelerator(group):
    """Return Accelerate's accelerator for the processes of a group.

    Raises
    ------
    ImportError
        If Accelerate is not installed.
    RuntimeError
        If Accelerate sees another number of processes.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ImportError(
            "device='multi' needs Hugging Face Accelerate: "
            'pip install "dalmax_sk[accelerate]".'
        ) from error
    accelerator = Accelerator(
        # Processes without a GPU work together on CPUs only when this is said.
        cpu=group.world_size > 1 and not uses_gpus(),
        # BatchNet does the autocast: the next fit in this process may want another
        # precision, which Accelerate forbids.
        mixed_precision="no",
    )
    if accelerator.num_processes != group.world_size:
        raise RuntimeError(
            f"device='multi': {group.world_size} processes were started and Accelerate "
            f"sees {accelerator.num_processes}. Do not make an accelerate.Accelerator "
            "before; or make it for the same devices."
        )
    return accelerator


class BatchShard:
    """Rows of a whole batch that a process has, and the weight of its loss.

    Parameters
    ----------
    start, stop : int
        Rows of the whole batch.
    total : int
        Size of the whole batch.
    count : int
        Number of processes that have a part of it; 1 if each has all of it.
    """

    def __init__(self, start, stop, total, count):
        self.start, self.stop, self.total, self.count = start, stop, total, count

    def weight(self, y, class_weight):
        """Factor that makes the mean of the processes' losses that of the whole batch.

        Parameters
        ----------
        y : Tensor of shape (total,)
            Labels of the whole batch.
        class_weight : Tensor of shape (C,) or None
        """
        if class_weight is None:
            return self.count * (self.stop - self.start) / self.total
        weights = class_weight[y]
        return self.count * weights[self.start : self.stop].sum() / weights.sum()


class ShardedBatches(Batches):
    """Batches of which each process takes its part.

    The parts of one batch differ by one row at most. A batch of fewer rows than
    processes is not divided: then each takes all of every batch.

    Parameters
    ----------
    *args, **kwargs
        As for `Batches`.
    group : ProcessGroup

    Attributes
    ----------
    part : BatchShard
        This process's part of the batch that was yielded last.
    y_whole : Tensor of shape (b,)
        The labels of all of that batch.
    """

    part = None
    y_whole = None

    def __init__(self, *args, group, **kwargs):
        super().__init__(*args, **kwargs)
        self.group = group

    def _deal(self):
        # Should a layer draw random numbers of its own for its part of the rows, the
        # generators of the processes run apart; the order must not.
        return self.group.broadcast([batch.clone() for batch in super()._deal()])

    def _part(self, total, divided):
        if not divided:
            return BatchShard(0, total, total, 1)
        rank, world_size = self.group.rank, self.group.world_size
        edges = [total * i // world_size for i in (rank, rank + 1)]
        return BatchShard(*edges, total, world_size)

    def __iter__(self):
        """Yield (X of shape (b, ...), y of shape (b,)) of this process's rows."""
        batches = self._deal()
        divided = min(map(len, batches)) >= self.group.world_size
        parts = [self._part(len(batch), divided) for batch in batches]
        # Random changes are drawn for the whole batch, as on one device; but files that
        # are decoded for each batch are decoded by the process that needs them.
        whole = self.augment is not None and self.source.in_memory
        own = [b[p.start : p.stop] for b, p in zip(batches, parts, strict=True)]
        # Row numbers go to the device once an epoch, not once a batch.
        rows = torch.cat(batches).to(self.device)
        labels = self.y.index_select(0, rows).split([len(b) for b in batches])
        images = self._load(batches if whole else own)
        for part, y, (X, _) in zip(parts, labels, images, strict=True):
            if self.augment is not None:
                X = self._augmented(X, part, whole)
            self.part, self.y_whole = part, y
            yield X, y[part.start : part.stop]

    def _augmented(self, X, part, whole):
        if whole:
            return self.augment(X)[part.start : part.stop]
        # Numbers of its own for each process, without moving the common generator on.
        seed = int(torch.randint(2**31, ())) + self.group.rank
        devices = [X.device] if X.device.type == "cuda" else []
        with torch_seed(seed, devices):
            return self.augment(X)


class AccelerateNet(AccelerateMixin, BatchNet):
    """A `BatchNet` on `ShardedBatches`: several devices, one process each."""

    _batches = None

    def _initialize_accelerator(self):
        # DistributedDataParallel refuses modules without parameters, as losses are.
        criteria, self._criteria = self._criteria, []
        super()._initialize_accelerator()
        self._criteria = criteria
        self.criterion_.to(self.accelerator.device)
        return self

    def train(self, data, *args, **kwargs):
        self._batches = data.train
        with explain_lost_process():
            return super().train(data, *args, **kwargs)

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        super().on_train_begin(net, X=X, y=y, **kwargs)
        if isinstance(self._batches, ShardedBatches):
            _share_layers(self.module_, self._batches)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        loss = super().get_loss(y_pred, y_true, X=X, training=training)
        if not training or not isinstance(self._batches, ShardedBatches):
            return loss
        weight = getattr(self.criterion_, "weight", None)
        return loss * self._batches.part.weight(self._batches.y_whole, weight)

    def train_step_single(self, batch, **fit_params):
        step = super().train_step_single(batch, **fit_params)
        if isinstance(self._batches, ShardedBatches):
            # Times the rows of the part, and added up: the whole batch's loss times its
            # rows.
            part = self._batches.part
            rows = part.count * (part.stop - part.start)
            step["loss"] = step["loss"].detach() * (part.total / rows)
        return step

    def release(self, device):
        _unshare_layers(self.module_)
        super().release(device)
        # The same bits everywhere, whatever the devices: all must pick the same rows.
        if isinstance(self._batches, ShardedBatches):
            state = self.module_.state_dict()
            with torch.no_grad(), explain_lost_process():
                for tensor in state.values():
                    dist.broadcast(tensor, src=0)
        self._batches = None
        self.accelerator = None

    def gather(self, sums):
        return self.accelerator.reduce(sums, reduction="sum")

    def get_iterator(self, dataset, training=False):
        # Batches hand each process its own share already.
        return BatchNet.get_iterator(self, dataset, training=training)


class _WholeBatchDropout:
    """Draws the mask of the whole batch and applies this process's part of it."""

    def forward(self, x):
        part = self.shared_batches.part
        if not self.training or part is None or len(x) != part.stop - part.start:
            return super().forward(x)
        whole = x.new_ones((part.total, *x.shape[1:]))
        return x * super().forward(whole)[part.start : part.stop]


class _Sum(torch.autograd.Function):
    """The sum over all processes, through which gradients go back to all of them."""

    @staticmethod
    def forward(ctx, x):
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class _WholeBatchNorm:
    """Normalises by mean and variance over the whole batch, on a CPU.

    torch.nn.SyncBatchNorm does it on GPUs, and only there.
    """

    def forward(self, x):
        if not self.training or not _is_divided(self):
            return super().forward(x)
        given, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        sums = torch.cat([x.sum(axes), x.new_tensor([x.numel() / x.shape[1]])])
        sums = _Sum.apply(sums)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        var = _Sum.apply(centred.square().sum(axes)) / count
        if self.track_running_stats:
            self._follow(mean.detach(), var.detach() * count / (count - 1))
        y = centred * torch.rsqrt(var + self.eps).view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(given)

    @torch.no_grad()
    def _follow(self, mean, var):
        self.num_batches_tracked += 1
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(var, momentum)


class _WholeBatchNormOnGPU(nn.SyncBatchNorm):
    """Normalises by mean and variance over the whole batch, on GPUs."""

    def forward(self, x):
        if not _is_divided(self):
            return self.plain_class.forward(self, x)
        return super().forward(x)


def _is_divided(layer):
    """Tell whether the rows of a batch are dealt out to the processes.

    If each has all of them, a sum over the processes counts every row several times:
    the unbiased variance would be that of a larger batch.
    """
    part = layer.shared_batches.part
    return part is not None and part.count > 1


def _shared(mixin, plain):
    return type(f"_{mixin.__name__}_{plain.__name__}", (mixin, plain), {})


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_WHOLE_NORMS = {plain: _shared(_WholeBatchNorm, plain) for plain in _NORMS}
_WHOLE_DROPOUTS = {plain: _shared(_WholeBatchDropout, plain) for plain in _DROPOUTS}


def _share_layers(module, batches):
    """Let layers that look at a whole batch, or draw for one, do so in all processes.

    Only the class of a layer changes, so that weights and names stay what they are.
    """
    for layer in module.modules():
        plain = type(layer)
        if plain in _WHOLE_DROPOUTS:
            layer.plain_class, layer.shared_batches = plain, batches
            layer.__class__ = _WHOLE_DROPOUTS[plain]
        elif plain in _WHOLE_NORMS:
            layer.plain_class, layer.shared_batches = plain, batches
            layer.process_group = dist.group.WORLD
            on_cpu = batches.device.type == "cpu"
            layer.__class__ = _WHOLE_NORMS[plain] if on_cpu else _WholeBatchNormOnGPU


def _unshare_layers(module):
    for layer in module.modules():
        if "plain_class" in vars(layer):
            layer.__class__ = layer.plain_class
            for name in ("plain_class", "shared_batches", "process_group"):
                vars(layer).pop(name, None)
