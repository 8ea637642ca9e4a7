"""Array types of annotations, and the words in which an annotation says dtype and shape.

`Float32[Floats, "batch items"]` is `Floats` for mypy and where nothing checks: these names are `typing.Annotated`, and production neither
installs jaxtyping nor waits for its import (0.1 s). Where jaxtyping is loaded first, as tests/conftest.py does, they are jaxtyping's names,
and beartype checks dtype and shape of arguments, results and dataclass fields at every call. Axes are named in full words; in one
signature the same name is the same size. The first of a name of one axis is a space (`" items"`), since a bare word would be a type.
"""

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING or "jaxtyping" not in sys.modules:
    from typing import Annotated as Bool
    from typing import Annotated as Float
    from typing import Annotated as Float16
    from typing import Annotated as Float32
    from typing import Annotated as Float64
    from typing import Annotated as Int
    from typing import Annotated as Int32
    from typing import Annotated as Int64
    from typing import Annotated as Integer
    from typing import Annotated as Num
    from typing import Annotated as Shaped
    from typing import Annotated as UInt
    from typing import Annotated as UInt8
else:
    from jaxtyping import Bool, Float, Float16, Float32, Float64, Int, Int32, Int64, Integer, Num, Shaped, UInt, UInt8

__all__ = [
    "Bool",
    "Doubles",
    "Flags",
    "Float",
    "Float16",
    "Float32",
    "Float64",
    "Floats",
    "Int",
    "Int32",
    "Int64",
    "Integer",
    "Integers",
    "Ints",
    "Longs",
    "Num",
    "Shaped",
    "UInt",
    "UInt8",
]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Integers = NDArray[np.signedinteger[Any]]  # of any width
