"""Training on several devices, one process each, through Accelerate."""

import torch
from skorch.hf import AccelerateMixin

from dalmax_sk._training import Conductor

__all__ = ["AcceleratedConductor"]


class AcceleratedConductor(AccelerateMixin, Conductor):
    """A conductor for ``accelerate launch``: several devices, one process each."""

    def _initialize_accelerator(self):
        # DistributedDataParallel refuses modules without parameters, as losses are.
        criteria, self._criteria = self._criteria, []
        super()._initialize_accelerator()
        self._criteria = criteria
        self.criterion_.to(self.accelerator.device)
        return self

    def release(self, device):
        from accelerate.utils import broadcast

        super().release(device)
        # Batch normalisation's running averages have seen other parts of the last batch
        # on each process; all must predict, and pick, the same.
        with torch.no_grad():
            for buffer in self.module_.buffers():
                buffer.copy_(broadcast(buffer.clone()))
        self.accelerator = None

    def gather(self, sums):
        return self.accelerator.reduce(sums, reduction="sum")

    def get_iterator(self, dataset, training=False):
        # Batches hand each process its own share already.
        return Conductor.get_iterator(self, dataset, training=training)
