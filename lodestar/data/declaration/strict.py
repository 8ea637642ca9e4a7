"""Types of a declaration's keys: values that cannot change and have no unknown keys, lists that may be a single value, column names."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Names = tuple[str, ...]
Text = Annotated[str, Field(max_length=1000)]
Numbered = str | Annotated[int, Field(ge=1, le=100_000)]


def one_or_more(value: Any) -> Any:
    """A single value in place of a list of one."""
    return value if isinstance(value, tuple) else (value,)


Several = Annotated[Names, BeforeValidator(one_or_more)]
SeveralColumns = Annotated[tuple[Numbered, ...], BeforeValidator(one_or_more)]


class Strict(BaseModel):
    """A value that cannot change, without unknown keys, whose types are as they were written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
