"""Mixed precision: float32 weights, whose products are computed with less where the device can.

It is torch's own setting, put back afterwards. "high" is TF32 on a GPU, "medium" is bfloat16 on
processors that have it (AMX, AVX512-BF16); sums, losses and optimisers stay float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch as th

from sb3_il_plus.errors import UserError

MatmulPrecision = Literal["highest", "high", "medium"]


def check_precision(precision: MatmulPrecision | None) -> None:
    """Refuse what torch does not know.

    :raises UserError: it is none of torch's names
    """
    if precision is not None and precision not in get_args(MatmulPrecision):
        names = ", ".join(map(repr, get_args(MatmulPrecision)))
        raise UserError(f"matmul_precision={precision!r} must be None or one of {names}")


@contextmanager
def products_in(precision: MatmulPrecision | None) -> Iterator[None]:
    """Compute products of float32 matrices in a precision.

    :param precision: see `torch.set_float32_matmul_precision`; None for what is set
    """
    before = th.get_float32_matmul_precision()
    if precision is not None:
        th.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        if precision is not None:
            th.set_float32_matmul_precision(before)
