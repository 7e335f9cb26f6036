"""Published cells, under the names their authors gave them; SOURCES says whose file each was taken from."""

from __future__ import annotations

from base_fast.space.genotype import Genotype
from base_fast.space.lookup import lookup

# Four pairs, that is two nodes, a line.
# fmt: off

DARTS_V1 = Genotype(
    normal=(
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("skip_connect", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("skip_connect", 2),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 0),
        ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("avg_pool_3x3", 0),
    ),
    reduce_concat=(2, 3, 4, 5),
)

DARTS_V2 = Genotype(
    normal=(
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
        ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1),
    ),
    reduce_concat=(2, 3, 4, 5),
)

NASNet = Genotype(
    normal=(
        ("sep_conv_5x5", 1), ("sep_conv_3x3", 0), ("sep_conv_5x5", 0), ("sep_conv_3x3", 0),
        ("avg_pool_3x3", 1), ("skip_connect", 0), ("avg_pool_3x3", 0), ("avg_pool_3x3", 0),
        ("sep_conv_3x3", 1), ("skip_connect", 1),
    ),
    normal_concat=(2, 3, 4, 5, 6),
    reduce=(
        ("sep_conv_5x5", 1), ("sep_conv_7x7", 0), ("max_pool_3x3", 1), ("sep_conv_7x7", 0),
        ("avg_pool_3x3", 1), ("sep_conv_5x5", 0), ("skip_connect", 3), ("avg_pool_3x3", 2),
        ("sep_conv_3x3", 2), ("max_pool_3x3", 1),
    ),
    reduce_concat=(4, 5, 6),
)

AmoebaNet = Genotype(
    normal=(
        ("avg_pool_3x3", 0), ("max_pool_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_5x5", 2),
        ("sep_conv_3x3", 0), ("avg_pool_3x3", 3), ("sep_conv_3x3", 1), ("skip_connect", 1),
        ("skip_connect", 0), ("avg_pool_3x3", 1),
    ),
    normal_concat=(4, 5, 6),
    reduce=(
        ("avg_pool_3x3", 0), ("sep_conv_3x3", 1), ("max_pool_3x3", 0), ("sep_conv_7x7", 2),
        ("sep_conv_7x7", 0), ("avg_pool_3x3", 1), ("max_pool_3x3", 0), ("max_pool_3x3", 1),
        ("conv_7x1_1x7", 0), ("sep_conv_3x3", 5),
    ),
    reduce_concat=(3, 4, 6),
)

BASE_CIFAR_TUNED = Genotype(
    normal=(
        ("skip_connect", 0), ("dil_conv_3x3", 1), ("max_pool_3x3", 0), ("dil_conv_5x5", 0),
        ("max_pool_3x3", 0), ("sep_conv_5x5", 0), ("max_pool_3x3", 1), ("dil_conv_5x5", 1),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("sep_conv_3x3", 0), ("sep_conv_5x5", 0), ("max_pool_3x3", 0), ("sep_conv_3x3", 0),
        ("skip_connect", 0), ("avg_pool_3x3", 3), ("max_pool_3x3", 1), ("skip_connect", 2),
    ),
    reduce_concat=(2, 3, 4, 5),
)

BASE_IMAGENET_TUNED = Genotype(
    normal=(
        ("skip_connect", 0), ("max_pool_3x3", 1), ("avg_pool_3x3", 0), ("sep_conv_5x5", 1),
        ("sep_conv_5x5", 0), ("dil_conv_5x5", 3), ("sep_conv_5x5", 0), ("sep_conv_5x5", 2),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("sep_conv_5x5", 0), ("max_pool_3x3", 0), ("avg_pool_3x3", 0),
        ("sep_conv_5x5", 2), ("dil_conv_5x5", 2), ("avg_pool_3x3", 0), ("sep_conv_5x5", 3),
    ),
    reduce_concat=(2, 3, 4, 5),
)

SNAS_mild = Genotype(
    normal=(
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("skip_connect", 0), ("dil_conv_3x3", 1),
        ("skip_connect", 0), ("skip_connect", 1), ("skip_connect", 0), ("sep_conv_3x3", 1),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("max_pool_3x3", 1), ("skip_connect", 2),
        ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 0), ("dil_conv_5x5", 2),
    ),
    reduce_concat=(2, 3, 4, 5),
)

SNAS_moderate = Genotype(
    normal=(
        ("dil_conv_5x5", 0), ("skip_connect", 1), ("sep_conv_3x3", 0), ("skip_connect", 1),
        ("skip_connect", 0), ("skip_connect", 1), ("sep_conv_3x3", 0), ("dil_conv_5x5", 1),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("sep_conv_5x5", 0), ("dil_conv_5x5", 1),
        ("sep_conv_5x5", 0), ("sep_conv_5x5", 1), ("sep_conv_5x5", 0), ("sep_conv_5x5", 1),
    ),
    reduce_concat=(2, 3, 4, 5),
)

SNAS_aggressive = Genotype(
    normal=(
        ("sep_conv_5x5", 0), ("skip_connect", 1), ("skip_connect", 0), ("skip_connect", 1),
        ("dil_conv_5x5", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_5x5", 1),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("sep_conv_5x5", 0), ("none", 1), ("sep_conv_5x5", 0), ("none", 1),
        ("none", 1), ("none", 0), ("none", 1), ("none", 0),
    ),
    reduce_concat=(2, 3, 4, 5),
)

PC_DARTS_cifar = Genotype(
    normal=(
        ("sep_conv_3x3", 1), ("skip_connect", 0), ("sep_conv_3x3", 0), ("dil_conv_3x3", 1),
        ("sep_conv_5x5", 0), ("sep_conv_3x3", 1), ("avg_pool_3x3", 0), ("dil_conv_3x3", 1),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("sep_conv_5x5", 1), ("max_pool_3x3", 0), ("sep_conv_5x5", 1), ("sep_conv_5x5", 2),
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 3), ("sep_conv_3x3", 1), ("sep_conv_3x3", 2),
    ),
    reduce_concat=(2, 3, 4, 5),
)

PC_DARTS_image = Genotype(
    normal=(
        ("skip_connect", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 0), ("skip_connect", 1),
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 3), ("sep_conv_3x3", 1), ("dil_conv_5x5", 4),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("sep_conv_3x3", 0), ("skip_connect", 1), ("dil_conv_5x5", 2), ("max_pool_3x3", 1),
        ("sep_conv_3x3", 2), ("sep_conv_3x3", 1), ("sep_conv_5x5", 0), ("sep_conv_3x3", 3),
    ),
    reduce_concat=(2, 3, 4, 5),
)

PDARTS = Genotype(
    normal=(
        ("skip_connect", 0), ("dil_conv_3x3", 1), ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 3), ("sep_conv_3x3", 0), ("dil_conv_5x5", 4),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("avg_pool_3x3", 0), ("sep_conv_5x5", 1), ("sep_conv_3x3", 0), ("dil_conv_5x5", 2),
        ("max_pool_3x3", 0), ("dil_conv_3x3", 1), ("dil_conv_3x3", 1), ("dil_conv_5x5", 3),
    ),
    reduce_concat=(2, 3, 4, 5),
)

GDAS_V1 = Genotype(
    normal=(
        ("skip_connect", 0), ("skip_connect", 1), ("skip_connect", 0), ("sep_conv_5x5", 2),
        ("sep_conv_3x3", 3), ("skip_connect", 0), ("sep_conv_5x5", 4), ("sep_conv_3x3", 3),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("sep_conv_5x5", 0), ("sep_conv_3x3", 1), ("sep_conv_5x5", 2), ("sep_conv_5x5", 1),
        ("dil_conv_5x5", 2), ("sep_conv_3x3", 1), ("sep_conv_5x5", 0), ("sep_conv_5x5", 1),
    ),
    reduce_concat=(2, 3, 4, 5),
)

PNASNet5 = Genotype(
    normal=(
        ("sep_conv_5x5", 0), ("max_pool_3x3", 0), ("sep_conv_7x7", 1), ("max_pool_3x3", 1),
        ("sep_conv_5x5", 1), ("sep_conv_3x3", 1), ("sep_conv_3x3", 4), ("max_pool_3x3", 1),
        ("sep_conv_3x3", 0), ("skip_connect", 1),
    ),
    normal_concat=(2, 3, 4, 5, 6),
    reduce=(
        ("sep_conv_5x5", 0), ("max_pool_3x3", 0), ("sep_conv_7x7", 1), ("max_pool_3x3", 1),
        ("sep_conv_5x5", 1), ("sep_conv_3x3", 1), ("sep_conv_3x3", 4), ("max_pool_3x3", 1),
        ("sep_conv_3x3", 0), ("skip_connect", 1),
    ),
    reduce_concat=(2, 3, 4, 5, 6),
)

ENASNet = Genotype(
    normal=(
        ("sep_conv_3x3", 1), ("skip_connect", 1), ("sep_conv_5x5", 1), ("skip_connect", 0),
        ("avg_pool_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("avg_pool_3x3", 1),
        ("sep_conv_5x5", 1), ("avg_pool_3x3", 0),
    ),
    normal_concat=(2, 3, 4, 5, 6),
    reduce=(
        ("sep_conv_5x5", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 1), ("avg_pool_3x3", 1),
        ("sep_conv_3x3", 1), ("avg_pool_3x3", 1), ("avg_pool_3x3", 1), ("sep_conv_5x5", 4),
        ("sep_conv_3x3", 5), ("sep_conv_5x5", 0),
    ),
    reduce_concat=(2, 3, 4, 5, 6),
)

MdeNAS = Genotype(
    normal=(
        ("sep_conv_5x5", 1), ("sep_conv_3x3", 0), ("skip_connect", 0), ("sep_conv_5x5", 1),
        ("sep_conv_5x5", 3), ("sep_conv_3x3", 1), ("dil_conv_5x5", 3), ("max_pool_3x3", 4),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("sep_conv_5x5", 1), ("skip_connect", 0), ("skip_connect", 1),
        ("sep_conv_3x3", 3), ("skip_connect", 2), ("dil_conv_3x3", 3), ("sep_conv_5x5", 0),
    ),
    reduce_concat=(2, 3, 4, 5),
)

# fmt: on

SOURCES: dict[str, str] = {
    "DARTS_V1": "quark0/darts cnn/genotypes.py",
    "DARTS_V2": "quark0/darts cnn/genotypes.py",
    "NASNet": "quark0/darts cnn/genotypes.py",
    "AmoebaNet": "quark0/darts cnn/genotypes.py",
    "BASE_CIFAR_TUNED": "ashaw596/meta_architecture_search our_models.py",
    "BASE_IMAGENET_TUNED": "ashaw596/meta_architecture_search our_models.py",
    "SNAS_mild": "SNAS-Series/SNAS-Series SNAS/genotypes.py",
    "SNAS_moderate": "SNAS-Series/SNAS-Series SNAS/genotypes.py",
    "SNAS_aggressive": "SNAS-Series/SNAS-Series SNAS/genotypes.py",
    "PC_DARTS_cifar": "yuhuixu1993/PC-DARTS genotypes.py",
    "PC_DARTS_image": "yuhuixu1993/PC-DARTS genotypes.py",
    "PDARTS": "chenxin061/pdarts genotypes.py",
    "GDAS_V1": "D-X-Y/GDAS lib/nas_infer_model/DXYs/genotypes.py",
    "PNASNet5": "D-X-Y/GDAS lib/nas_infer_model/DXYs/genotypes.py",
    "ENASNet": "xiaomi-automl/FairDARTS fairdarts/genotypes.py (third party transcription)",
    "MdeNAS": "xiaomi-automl/FairDARTS fairdarts/genotypes.py (third party transcription)",
}
"""Repository and file of every genotype."""

ALL: dict[str, Genotype] = {name: globals()[name] for name in SOURCES}
"""Every genotype of this module by name."""


def get(name: str) -> Genotype:
    """The published genotype called `name`; raises InputError with the nearest names."""
    return lookup("genotype", name, ALL)
