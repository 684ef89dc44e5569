"""CIFAR-10 after DISTIL (Beck et al. 2021): 1,000 to 25,000 labels.

    python benchmarks/protocol_b.py --query-size-of 3000 --dir-train cifar10/train \
        --dir-test cifar10/test --results RUNS/protocol_b

ResNet-18 from random weights, 1,000 random labels at the start, queries of 1,000 or
3,000 up to 25,000; SGD with momentum .9, learning rate .01 on a cosine, weight decay
.0005, batches of 20, shifts and mirroring; at most 300 epochs, and an end as soon as
99 % of the training images were classified rightly during an epoch. Three runs.
Printed: test accuracy beside the authors' at 1,000 to 25,000 labels.

It is meant for a GPU. Records are resumable; run the same command again after a stop.

References
----------
.. [1] N. Beck, D. Sivasubramanian, A. Dani, G. Ramakrishnan and R. Iyer, "Effective
   Evaluation of Deep Active Learning on Image Classification Tasks", 2021.
   https://arxiv.org/abs/2106.15324
"""

from _protocols import Protocol, beside_published, make_parser, run
from _published import DISTIL, DISTIL_LABELS
from skorch.callbacks import Callback

START, END = DISTIL_LABELS[0], DISTIL_LABELS[-1]
METHODS = {
    "random": "random_sampling",
    "entropy": "entropy_sampling",
    "BADGE": "badge",
}


class StopAtAccuracy(Callback):
    """End the training once an epoch's training accuracy is high enough."""

    def __init__(self, accuracy=0.99):
        self.accuracy = accuracy

    def __repr__(self):
        return f"StopAtAccuracy({self.accuracy})"

    def on_epoch_end(self, net, **kwargs):
        """End by skorch's way to say so."""
        if net.history[-1, "train_accuracy"] >= self.accuracy:
            raise KeyboardInterrupt


def make_protocol(query_size):
    """Return the set-up for queries of 1,000 or 3,000 labels."""
    return Protocol(
        name=f"protocol_b_{query_size}",
        n_initial=START,
        query_size=query_size,
        n_rounds=(END - START) // query_size,
        seeds=(0, 1, 2),
        methods=METHODS,
        net={
            "architecture": "cifar_resnet18",
            "max_epochs": 300,
            "optimizer": "sgd",
            "lr": 0.01,
            "lr_schedule": "cosine",
            "weight_decay": 5e-4,
            "batch_size": 20,
            "augment": "flip_crop",
            "amp": True,
            "callbacks": [StopAtAccuracy()],
        },
        deviations=(
            "Nesterov's momentum in place of plain momentum",
            "the learning rate falls from batch to batch, not from epoch to epoch",
            "images are reflected at the border, not padded with black",
            "bfloat16 in place of float32",
            "other seeds, hence other start sets",
        ),
    )


def main(words=None):
    """Run one query size and print its accuracies beside the published ones."""
    parser = make_parser(__doc__.splitlines()[0], METHODS)
    parser.add_argument("--query-size-of", type=int, choices=DISTIL, required=True)
    arguments = parser.parse_args(words)
    curves = run(make_protocol(arguments.query_size_of), arguments)
    published = DISTIL[arguments.query_size_of]
    for place, n_labels in enumerate(DISTIL_LABELS):
        ours = {}
        for method in curves.strategies:
            _, budgets, values = curves.by_seed(method)
            if n_labels in budgets:
                ours[method] = 100 * values[:, budgets == n_labels][:, 0]
        if ours:
            wanted = {method: published[method][place] for method in ours}
            print(beside_published(ours, wanted, f"accuracy (%) at {n_labels:,}"))


if __name__ == "__main__":
    main()
