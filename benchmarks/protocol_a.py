"""CIFAR-10 after Lüth et al., NeurIPS 2023: low, medium and high label regimes.

    python benchmarks/protocol_a.py --regime low --dir-train cifar10/train \
        --dir-test cifar10/test --results RUNS/protocol_a

ResNet-18 from random weights; a balanced start of 50 (low), 250 (med) or 1,000 (high)
labels and nine queries of the same size, which makes ten trainings; 200 epochs of SGD
with Nesterov momentum .9, learning rate .1 (ten epochs of warm-up, then half a cosine),
weight decay .005, batches of 1,024, mirroring, shifts, RandAugment and cutout, mixed
precision; an epoch has at least 5,500 draws, so that fifty images are seen some hundred
times in each. Five methods, seeds 12345 to 12347; dropout .5 for BALD only. The figure
is the area under the curve of accuracy over the rounds (AUBC), printed beside the
authors'.

It is meant for a GPU: at the low regime one run trains on 200 × 5,500 images ten times.
Records are resumable; run the same command again after a stop.

Where it differs from the published set-up (printed at the start as well):

- the net of the last epoch is used, where the authors took that of the best epoch on
  validation images; 5,000 training images are held out here too, but not looked at;
- the held-out images are the same for all seeds;
- mixed precision is bfloat16, not float16;
- weight decay acts on all parameters, batch normalisation's included;
- BALD draws as many dropout samples as ``BayesianSampling`` does by default.

References
----------
.. [1] C. T. Lüth, T. J. Bungert, L. Klein and P. F. Jaeger, "Navigating the Pitfalls of
   Active Learning Evaluation: A Systematic Framework for Meaningful Performance
   Assessment", NeurIPS 2023. https://arxiv.org/abs/2301.10625
"""

import math

import numpy as np
from _protocols import Protocol, beside_published, make_parser, run
from _published import LUETH_SCRATCH
from _randaugment import RandAugment

from dalmax_sk import CNNClassifier
from dalmax_sk.evaluation import area_under_budget_curve

SIZES = {"low": 50, "med": 250, "high": 1000}
METHODS = {
    "random": "random_sampling",
    "entropy": "entropy_sampling",
    "k-center": "core_set_selection",
    "BALD": "bald",
    "BADGE": "badge",
}
WARM_UP = 10 / 200


def warm_up_then_cosine(done):
    """Return the factor of the learning rate after a share `done` of the training."""
    if done < WARM_UP:
        return done / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


class LongEpochs(CNNClassifier):
    """A CNN whose epoch has at least ``MIN_DRAWS`` draws: few rows are repeated."""

    MIN_DRAWS = 5500

    def fit(self, X, y):
        """Train on the rows repeated in turn until there are enough."""
        rows = np.arange(max(len(y), self.MIN_DRAWS)) % len(y)
        return super().fit(X[rows], np.asarray(y)[rows])


def make_protocol(regime):
    """Return the set-up of a regime: ``"low"``, ``"med"`` or ``"high"``."""
    size = SIZES[regime]
    return Protocol(
        name=f"protocol_a_{regime}",
        n_initial=size,
        query_size=size,
        n_rounds=9,
        initial_strategy="balanced",
        n_held_out=5000,
        seeds=(12345, 12346, 12347),
        methods=METHODS,
        net={
            "architecture": "cifar_resnet18",
            "max_epochs": 200,
            "optimizer": "sgd",
            "lr": 0.1,
            "lr_schedule": warm_up_then_cosine,
            "weight_decay": 5e-3,
            "batch_size": 1024,
            "augment": RandAugment(),
            "amp": True,
        },
        net_of={"BALD": {"dropout": 0.5}},
        estimator=LongEpochs,
        deviations=(
            "the net of the last epoch, not of the best on validation images",
            "the 5,000 held-out training images are the same for all seeds",
            "bfloat16 in place of float16",
            "weight decay on batch normalisation as well",
            "BALD with the default number of dropout samples",
        ),
    )


def main(words=None):
    """Run a regime and print its areas beside the published ones."""
    parser = make_parser(__doc__.splitlines()[0], METHODS)
    parser.add_argument("--regime", choices=SIZES, required=True)
    parser.add_argument("--min-draws", type=int, help="toy size: draws an epoch")
    arguments = parser.parse_args(words)
    if arguments.min_draws is not None:
        LongEpochs.MIN_DRAWS = arguments.min_draws
    curves = run(make_protocol(arguments.regime), arguments)
    ours = {}
    for method in curves.strategies:
        _, budgets, values = curves.by_seed(method)
        ours[method] = area_under_budget_curve(budgets, values)
    print(beside_published(ours, LUETH_SCRATCH[arguments.regime], "AUBC"))


if __name__ == "__main__":
    main()
