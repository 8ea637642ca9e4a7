"""Schema of the data contract: names of tables, columns, event types and features, each defined here and nowhere else.

Ids are strings of 1–128 bytes, times are UTC microseconds, and every table has `ingested_at`: the time a row became known.
"""

from lodestar.schema.columns import *
from lodestar.schema.events import *
from lodestar.schema.features import *
from lodestar.schema.tables import *
