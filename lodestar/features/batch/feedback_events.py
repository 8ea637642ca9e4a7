"""Events under the rules of feedback, in SQL: what is positive, what is a refusal, what only makes an item seen, and who withdrew consent.

Written in DuckDB's dialect; Spark runs the same text, translated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lodestar import schema
from lodestar.schema.feedback import BINARY, Feedback

POSITIVE, FEEDBACK, RATED, REFUSALS, SEARCHES = "positive", "feedback", "rated", "refusals", "searches"
WITHDRAWN = "withdrawn"  # table of the users who withdrew consent_personalise
SIGN = "sign"  # of an event: 1 positive, -1 a refusal, 0 neutral, but of a type that makes an item seen


@dataclass(frozen=True, kw_only=True)
class EventRules:
    """The rules of one log: `feedback` with its seen types resolved, and whether some users withdrew consent."""

    feedback: Feedback = BINARY
    has_withdrawn: bool = False

    @property
    def events(self) -> str:
        """SQL of the events that may be trained on, those of users who withdrew consent left out."""
        return f"events ANTI JOIN {WITHDRAWN} USING ({schema.USER_ID})" if self.has_withdrawn else "events"

    def negative(self) -> str:
        """SQL condition of a refusal, never null; empty where no event can be one."""
        rules, parts = self.feedback, []
        if rules.negative:
            parts.append(f"{schema.EVENT_TYPE} IN ({_quoted(rules.negative)})")
        if rules.rating_negative_to >= rules.rating_scale[0]:
            parts.append(f"coalesce({schema.RATING} <= {rules.rating_negative_to!r}, false)")
        return f"({' OR '.join(parts)})" if parts else ""

    def positive(self) -> str:
        """SQL condition of a positive event, never null."""
        rules = self.feedback
        parts = [f"{schema.EVENT_TYPE} IN ({_quoted(sorted(rules.positive))})"]
        if schema.EventType.RATING in rules.positive and rules.rating_positive_from > rules.rating_scale[0]:
            is_liked = f"coalesce({schema.RATING} >= {rules.rating_positive_from!r}, false)"
            parts.append(f"({schema.EVENT_TYPE} <> '{schema.EventType.RATING}' OR {is_liked})")
        if negative := self.negative():
            parts.append(f"NOT {negative}")
        return " AND ".join(parts)

    def positive_events(self) -> str:
        """SQL of positive events with an item of the catalogue."""
        return f"SELECT * FROM {self.events} WHERE {self.positive()} AND {_IS_KNOWN}"

    def feedback_events(self) -> str:
        """SQL of all events with an item of the catalogue that decide what a user is recommended, with their SIGN."""
        others = [self.negative(), *([f"{schema.EVENT_TYPE} IN ({_quoted(self.feedback.seen)})"] if self._has_neutral() else [])]
        parts = [part for part in others if part]
        if not parts:
            return f"SELECT *, 1 AS {SIGN} FROM {self.events} WHERE {self.positive()} AND {_IS_KNOWN}"
        sign = f"CASE WHEN {self.positive()} THEN 1 WHEN {self.negative() or 'false'} THEN -1 ELSE 0 END AS {SIGN}"
        return f"SELECT *, {sign} FROM {self.events} WHERE ({' OR '.join((self.positive(), *parts))}) AND {_IS_KNOWN}"

    def rated_events(self) -> str:
        """SQL of events with a rating of an item of the catalogue, low ones included."""
        event_types = _quoted(sorted(schema.POSITIVE))
        return f"SELECT * FROM {self.events} WHERE {schema.EVENT_TYPE} IN ({event_types}) AND {schema.RATING} IS NOT NULL AND {_IS_KNOWN}"

    def refused_events(self) -> str:
        """SQL of the refusals of an item of the catalogue."""
        return f"SELECT * FROM {self.events} WHERE {self.negative() or 'false'} AND {_IS_KNOWN}"

    def views(self, query_keys: str) -> dict[str, str]:
        """SQL of the views of events under the rules, by name; `query_keys` is the table of normalised search texts."""
        return {
            POSITIVE: self.positive_events(),
            FEEDBACK: self.feedback_events(),
            RATED: self.rated_events(),
            REFUSALS: self.refused_events(),
            SEARCHES: self.search_events(query_keys),
        }

    def search_events(self, query_keys: str) -> str:
        """SQL of searches, and of positive events that followed one, with the normalised query of the table `query_keys`."""
        return f"""
            SELECT events.*, {schema.QUERY}, 1 AS {SIGN} FROM {self.events} JOIN {query_keys} USING ({schema.QUERY_TEXT})
            WHERE {schema.EVENT_TYPE} = '{schema.EventType.SEARCH}' OR ({self.positive()})"""

    def _has_neutral(self) -> bool:
        """Whether an event of a seen type may be neither positive nor negative: a middling rating, or a type that is not trained on."""
        rules = self.feedback
        return not set(rules.seen) <= set(rules.positive) or (
            schema.EventType.RATING in rules.seen and rules.rating_positive_from > rules.rating_scale[0]
        )


_IS_KNOWN = f"{schema.ITEM_ID} IN (SELECT {schema.ITEM_ID} FROM items)"


def types_query() -> str:
    """SQL of the types of the log's events with their number, the most frequent first."""
    return f"SELECT {schema.EVENT_TYPE}, count(*) AS n FROM events GROUP BY {schema.EVENT_TYPE} ORDER BY n DESC, {schema.EVENT_TYPE}"


def withdrawn_users_query() -> str:
    """SQL of the users who withdrew consent to be trained on."""
    return f"SELECT {schema.USER_ID} FROM users WHERE NOT {schema.CONSENT_PERSONALISE}"


def withdrawn_events_query() -> str:
    """SQL of the number of events, and of users with an event, that are left out as consent was withdrawn."""
    return f"SELECT count(*), count(DISTINCT {schema.USER_ID}) FROM events SEMI JOIN {WITHDRAWN} USING ({schema.USER_ID})"


def _quoted(event_types: Sequence[str]) -> str:
    return ", ".join(f"'{event_type}'" for event_type in event_types)
