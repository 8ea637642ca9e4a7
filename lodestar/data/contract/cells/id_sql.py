"""SQL of an id's normal form, which agrees with `lodestar.schema.ids.normalise`."""

from lodestar.schema import ids


def spaces() -> str:
    """SQL string literal of the characters that are trimmed."""
    return "'" + ids.SPACES + "'"


def normalised(text: str) -> str:
    """SQL of the normal form of the SQL expression `text`, an id without spaces around it."""
    places, exponent = _parts(text)
    is_whole = f"{exponent} <= {ids.MAX_EXPONENT} AND ({exponent} = {places} OR (NOT contains({text}, '+') AND {exponent} > {places}))"
    return f"""CASE
        WHEN NOT contains({text}, '.') THEN {text}
        WHEN regexp_full_match({text}, '{ids.DECIMALS}') THEN split_part({text}, '.', 1)
        WHEN regexp_full_match({text}, '{ids.EXPONENT}|{ids.SHORTENED}') AND {is_whole}
        THEN TRY_CAST(TRY_CAST({text} AS DECIMAL(38, 15)) AS BIGINT)::VARCHAR
        ELSE {text} END"""


def is_shortened(text: str) -> str:
    """SQL condition: a normal form is a number whose last digits may be cut off."""
    places, exponent = _parts(text)
    return f"CASE WHEN regexp_full_match({text}, '{ids.SHORTENED}') THEN {exponent} > {places} ELSE false END"


def _parts(text: str) -> tuple[str, str]:
    """SQL of the number of decimal places and of the exponent of a number in scientific notation."""
    exponent = f"TRY_CAST(regexp_extract({text}, '[eE]([+]?\\d+)$', 1) AS INTEGER)"
    return f"length(regexp_extract({text}, '\\.(\\d*)[eE]', 1))", exponent
