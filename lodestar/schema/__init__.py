"""The data contract's names: tables, columns, event types and features, each spelled here and nowhere else.

Ids are strings of 1–128 bytes, times are UTC microseconds, and every table carries `ingested_at`: when a row became known.
"""

from lodestar.schema.columns import *
from lodestar.schema.events import *
from lodestar.schema.features import *
from lodestar.schema.tables import *
