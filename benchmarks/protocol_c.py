"""CIFAR-10 with 10 % to 60 % of the labels, after acl21/deep-active-learning-pytorch.

    python benchmarks/protocol_c.py --dir-train cifar10/train --dir-test cifar10/test \
        --results RUNS/protocol_c

ResNet-18 from random weights in each round, 5,000 random labels at the start and five
queries of 5,000; 200 epochs of SGD with Nesterov momentum .9, learning rate .025 on a
cosine, weight decay .0003, batches of 96, mirroring. Three runs. Printed: the final
test accuracy beside the authors'.

It is meant for a GPU. Records are resumable; run the same command again after a stop.

References
----------
.. [1] P. Munjal, N. Hayat, M. Hayat, J. Sourati and S. Khan, "Towards Robust and
   Reproducible Active Learning Using Neural Networks", CVPR 2022.
   https://arxiv.org/abs/2002.09564
"""

from _protocols import Protocol, beside_published, make_parser, run
from _published import ACL21

METHODS = {
    "random": "random_sampling",
    "entropy": "entropy_sampling",
    "least confidence": "least_confidence_sampling",
    "margin": "uncertainty_sampling",
    "k-center": "core_set_selection",
    "BALD": "bald",
}
PROTOCOL = Protocol(
    name="protocol_c",
    n_initial=5000,
    query_size=5000,
    n_rounds=5,
    n_held_out=5000,
    seeds=(0, 1, 2),
    methods=METHODS,
    net={
        "architecture": "cifar_resnet18",
        "max_epochs": 200,
        "optimizer": "sgd",
        "lr": 0.025,
        "lr_schedule": "cosine",
        "weight_decay": 3e-4,
        "batch_size": 96,
        "augment": "flip",
        "amp": True,
    },
    net_of={"BALD": {"dropout": 0.5}},
    deviations=(
        "the net of the last epoch, not of the best on validation images",
        "the 5,000 held-out training images are the same for all seeds",
        "the learning rate falls from batch to batch, not from epoch to epoch",
        "BALD: dropout .5 before the last layer, in training as well",
        "bfloat16 in place of float32",
        "other seeds, hence other start sets",
    ),
)


def main(words=None):
    """Run the protocol and print its final accuracies beside the published ones."""
    parser = make_parser(__doc__.splitlines()[0], METHODS)
    curves = run(PROTOCOL, parser.parse_args(words))
    ours = {
        method: 100 * curves.by_seed(method)[2][:, -1] for method in curves.strategies
    }
    print(beside_published(ours, ACL21, "final accuracy (%)"))


if __name__ == "__main__":
    main()
