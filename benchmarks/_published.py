"""Figures that others published for CIFAR-10, to put beside ours.

All are the authors' own results, not reproduced here. AUBC is the area under the curve
of accuracy over the rounds, scaled to [0, 1].
"""

#: Lüth, Bungert, Klein and Jaeger, "Navigating the pitfalls of active learning
#: evaluation", NeurIPS 2023, https://arxiv.org/abs/2301.10625; figures of
#: IML-DKFZ/realistic-al, analysis/AUBC.ipynb: regime -> method -> (mean, sd) of AUBC
#: over three seeds; ResNet-18 from scratch.
LUETH_SCRATCH = {
    "low": {
        "random": (0.4720, 0.0144),
        "entropy": (0.4307, 0.0018),
        "k-center": (0.4681, 0.0038),
        "BALD": (0.4744, 0.0106),
        "BADGE": (0.4730, 0.0105),
    },
    "med": {
        "random": (0.7309, 0.0068),
        "entropy": (0.6859, 0.0042),
        "k-center": (0.7282, 0.0043),
        "BALD": (0.7253, 0.0051),
        "BADGE": (0.7289, 0.0025),
    },
    "high": {
        "random": (0.8526, 0.0030),
        "entropy": (0.8498, 0.0025),
        "k-center": (0.8629, 0.0017),
        "BALD": (0.8578, 0.0017),
        "BADGE": (0.8599, 0.0016),
    },
}

#: The same source, features initialised by SimCLR.
LUETH_SIMCLR = {
    "low": {
        "random": (0.8117, 0.0040),
        "entropy": (0.8002, 0.0090),
        "k-center": (0.8224, 0.0026),
        "BALD": (0.8005, 0.0056),
        "BADGE": (0.8282, 0.0016),
    },
    "med": {
        "random": (0.8669, 0.0009),
        "entropy": (0.8663, 0.0017),
        "k-center": (0.8670, 0.0009),
        "BALD": (0.8692, 0.0011),
        "BADGE": (0.8728, 0.0018),
    },
    "high": {
        "random": (0.8989, 0.0007),
        "entropy": (0.9071, 0.0010),
        "k-center": (0.9015, 0.0009),
        "BALD": (0.9093, 0.0010),
        "BADGE": (0.9086, 0.0012),
    },
}

#: Beck et al., "Effective evaluation of deep active learning on image classification
#: tasks" (DISTIL), 2021, https://arxiv.org/abs/2106.15324: query size -> method -> test
#: accuracy in percent at 1,000, 7,000, 13,000, 19,000 and 25,000 labels; means of three
#: runs.
DISTIL_LABELS = (1000, 7000, 13000, 19000, 25000)
DISTIL = {
    1000: {
        "random": (55.6, 82.5, 87.8, 89.1, 91.0),
        "entropy": (55.6, 84.3, 88.6, 91.9, 92.8),
        "BADGE": (55.6, 83.5, 89.0, 90.8, 92.4),
    },
    3000: {
        "random": (55.6, 82.2, 87.0, 89.9, 90.5),
        "entropy": (55.6, 83.3, 89.4, 91.7, 92.5),
        "BADGE": (55.6, 83.4, 88.4, 91.5, 92.6),
    },
}

#: acl21/deep-active-learning-pytorch, after Munjal et al., CVPR 2022,
#: https://arxiv.org/abs/2002.09564: final test accuracy in percent (mean, sd) of three
#: runs.
ACL21 = {
    "random": (89.80, 0.23),
    "entropy": (91.37, 0.36),
    "least confidence": (91.51, 0.09),
    "margin": (91.33, 0.23),
    "k-center": (91.43, 0.09),
    "BALD": (91.47, 0.29),
}

#: Werner et al., "A cross-domain benchmark for active learning", NeurIPS 2024,
#: https://arxiv.org/abs/2408.00426: AUC over fifty restarts; SimCLR features of 128
#: entries and a linear layer, 100 labels a query.
CDALBENCH_ENCODED_100 = {
    "random": 0.611,
    "margin": 0.629,
    "entropy": 0.618,
    "least confidence": 0.631,
    "k-center": 0.608,
    "BADGE": 0.623,
    "BALD": 0.632,
    "TypiClust": 0.501,
}
