"""Feast offline store with an as-of join: every entity row is returned once, with the features known at its time.

Feast's own stores take 30 to 80 times as long; its default one drops rows, and its DuckDB one returns them in any order. Writes (saved
data sets, logs, monitoring) are left to the DuckDB store.
"""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import ibis  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.fs
from feast.data_format import ParquetFormat
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig, _write_data_source
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_repo.stores.time_us import MICROSECOND, microseconds
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.features.asof import asof
from lodestar.features.asof.history import FeatureSource, between, to_microseconds
from lodestar.schema.store_keys import GENERATION
from lodestar.schema.time_units import NEVER

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
S3, ENDPOINTS = "s3://", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # the first that is set, as boto3 has it


class AsOfOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """`offline_store` of feature_store.yaml; `root` is the folder or s3:// URL of relative source paths, default the working folder."""

    type: str = "feature_repo.stores.offline_store.AsOfOfflineStore"
    root: str = ""


class AsOfOfflineStore(DuckDBOfflineStore):
    """Reads Parquet: a file or a folder of files for each view."""

    def validate_data_source(self, config: Any, data_source: Any) -> None:
        """UsageError if a source is not Parquet; its files need not exist yet."""
        _check(data_source)

    @staticmethod
    def get_historical_features(  # noqa: PLR0913, PLR0917  # the signature is Feast's
        config: Any,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> "AsOfRetrievalJob":
        """A job that joins lazily; UsageError if the entity rows are not a data frame."""
        if not hasattr(entity_df, "dtypes"):
            raise UsageError(
                "entity rows must be a pandas data frame: SQL, and features without entity rows, are not supported by this store"
            )
        time_column = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        histories = [
            _history(config, view, _requested_features(view, feature_refs), full_names=full_feature_names) for view in feature_views
        ]
        derived = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[name for name in entity_df.columns if name != time_column],
            min_event_timestamp=entity_df[time_column].min(),
            max_event_timestamp=entity_df[time_column].max(),
        )

        entity_rows = _with_times(entity_df, time_column).reset_index(drop=True)

        def joined() -> Any:
            rows = pa.Table.from_pandas(entity_rows, preserve_index=False).replace_schema_metadata()
            return asof.join(rows, time_column, histories, only_known=filter_by_created_timestamp)

        return AsOfRetrievalJob(joined, entity_rows=entity_rows, metadata=metadata, derived=derived, full_names=full_feature_names)

    @staticmethod
    def pull_latest_from_table_or_query(  # noqa: PLR0913, PLR0917  # the signature is Feast's
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> "AsOfRetrievalJob":
        """The latest row of each entity between two dates, both included."""
        times = (timestamp_field, created_timestamp_column or "")
        history = _plain(config, data_source, join_key_columns, feature_name_columns, times)
        return AsOfRetrievalJob(lambda: asof.latest(history, microseconds(start_date), microseconds(end_date)))

    @staticmethod
    def pull_all_from_table_or_query(  # noqa: PLR0913, PLR0917  # the signature is Feast's
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> "AsOfRetrievalJob":
        """All rows between the dates, both included."""
        times = (timestamp_field, created_timestamp_column or "")
        history = _plain(config, data_source, join_key_columns, feature_name_columns, times)
        start_us, end_us = microseconds(start_date or FIRST), microseconds(end_date or LAST)
        return AsOfRetrievalJob(lambda: between(history, start_us, end_us))


def latest(config: Any, view: Any, between_dates: tuple[datetime, datetime]) -> Iterator[tuple[Any, list[int], list[int]]]:
    """The latest row of each entity of a view between two dates, both included, in batches with the view's column names.

    Yields (table, event times, known times), times in UTC µs.
    """
    history = _history(config, view, [field.name for field in view.features], full_names=False)
    held = {**history.keys, **history.features}
    for rows in asof.latest_parts(history, *map(microseconds, between_dates)):
        event_us, known_us = (
            to_microseconds(rows[name]).tolist() if name else [NEVER] * len(rows) for name in (history.time, history.known)
        )
        yield pa.table({name: rows[column] for name, column in held.items()}), event_us, known_us


def generation_of(config: Any) -> str:
    """The feature generation of the folder of tables, from its file `generation`; empty if there is none."""
    root = config.offline_store.root
    if not root.startswith(S3):
        file = Path(root, GENERATION)
        return file.read_text() if file.is_file() else ""
    filesystem: Any
    filesystem, path = FileSource.create_filesystem_and_path(f"{root.rstrip('/')}/{GENERATION}", _endpoint())
    if filesystem.get_file_info(path).type != pa.fs.FileType.File:
        return ""
    with filesystem.open_input_file(path) as file:
        return str(file.read().decode())


class AsOfRetrievalJob(RetrievalJob):
    """Rows that are loaded lazily, once; `entity_rows` is the data frame that they were joined to, if there is one."""

    def __init__(
        self, rows: Callable[[], Any], *, entity_rows: Any = None, metadata: Any = None, derived: Any = (), full_names: bool = False
    ) -> None:
        self._load, self._entity_rows, self._metadata, self._derived, self._full_names = (
            rows,
            entity_rows,
            metadata,
            list(derived),
            full_names,
        )

    def to_df(self, validation_reference: Any = None, timeout: int | None = None) -> Any:
        """The rows as a data frame; entity columns are the caller's own, not converted back from Arrow."""
        if self._entity_rows is None:
            return super().to_df(validation_reference, timeout)
        rows = self.to_arrow(validation_reference, timeout)
        features = rows.select(
            rows.column_names[len(self._entity_rows.columns) :]
        )  # by position, since the caller's columns may have any names
        return self._entity_rows.join(features.to_pandas())

    @cached_property
    def _rows(self) -> Any:
        return self._load()

    def _to_arrow_internal(self, timeout: int | None = None) -> Any:
        return self._rows

    def _to_df_internal(self, timeout: int | None = None) -> Any:
        return self._rows.to_pandas()

    @property
    def full_feature_names(self) -> bool:
        """Whether columns are named `VIEW__FEATURE` and not `FEATURE`, as requested."""
        return self._full_names

    @property
    def on_demand_feature_views(self) -> list[Any]:
        """The requested on-demand feature views, which Feast computes from the joined rows; none for a job that pulls a table."""
        return self._derived

    @property
    def metadata(self) -> Any:
        """Feast's RetrievalMetadata: features, entity columns, the entity rows' first and last event time; None for a pulled table."""
        return self._metadata

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the rows to the storage of a saved data set of Feast."""
        _write_data_source(ibis.memtable(self.to_arrow()), storage.to_data_source(), "", "overwrite", allow_overwrite)


def _with_times(rows: Any, time_column: str) -> Any:
    """The rows with the time column parsed from strings or Python datetimes, as Feast accepts them."""
    import pandas as pd

    return rows if rows[time_column].dtype.kind == "M" else rows.assign(**{time_column: pd.to_datetime(rows[time_column], utc=True)})


def _requested_features(view: Any, feature_refs: list[str]) -> list[str]:
    prefix = f"{view.projection.name_to_use()}:"
    return [reference.removeprefix(prefix) for reference in feature_refs if reference.startswith(prefix)]


def _history(config: Any, view: Any, features: list[str], *, full_names: bool) -> FeatureSource:
    """The source of a view as files; columns may have other names than features."""
    source = view.batch_source
    files, filesystem = _files(config, source)
    column = {new: old for old, new in source.field_mapping.items()}
    keys = view.projection.join_key_map or {field.name: field.name for field in view.entity_columns if field.name != DUMMY_ENTITY_ID}
    prefix = f"{view.projection.name_alias or view.name}__" if full_names else ""
    return FeatureSource(
        files=files,
        filesystem=filesystem,
        keys={name: column.get(key, key) for key, name in keys.items()},
        features={prefix + name: column.get(name, name) for name in features},
        time=column.get(source.timestamp_field, source.timestamp_field),
        known=column.get(source.created_timestamp_column, source.created_timestamp_column) or "",
        ttl_us=view.ttl // MICROSECOND if view.ttl else 0,
    )


def _plain(config: Any, source: Any, keys: list[str], features: list[str], times: tuple[str, str]) -> FeatureSource:
    """A source as files, with unchanged column names."""
    files, filesystem = _files(config, source)
    named = {"keys": {name: name for name in keys}, "features": {name: name for name in features}}
    return FeatureSource(files=files, filesystem=filesystem, **named, time=times[0], known=times[1], ttl_us=0)


def _files(config: Any, source: Any) -> tuple[list[str], Any]:
    """The files of a source, and the file system unless it is local; EnvironmentFault E509 if there are no files."""
    _check(source)
    path = _located(config.offline_store.root, source.path)
    if path.startswith(S3):
        endpoint = source.s3_endpoint_override or _endpoint()
        filesystem: Any
        filesystem, path = FileSource.create_filesystem_and_path(path, endpoint)
        found = pa.fs.FileSelector(path, recursive=True) if filesystem.get_file_info(path).type == pa.fs.FileType.Directory else [path]
        files = [info.path for info in filesystem.get_file_info(found) if info.type == pa.fs.FileType.File]
    else:
        filesystem, local = None, Path(path)
        files = [str(file) for file in (local.rglob("*.parquet") if local.is_dir() else [local]) if file.is_file()]
    if not files:
        raise EnvironmentFault("E509", f"there is no Parquet at {path}", remedy="Build the features first, or name their folder.")
    return sorted(file for file in files if file.endswith(".parquet")), filesystem


def _endpoint() -> str:
    """Address of an S3 server that is not Amazon's, which Arrow does not read itself; empty for Amazon's."""
    return next(filter(None, map(os.environ.get, ENDPOINTS)), "")


def _check(source: Any) -> None:
    if not isinstance(source, FileSource) or not isinstance(source.file_format, ParquetFormat | None):
        raise UsageError(f"this store reads Parquet files, and {source.name} is not one: use Feast's store of type duckdb")


def _located(root: str, path: str) -> str:
    if not root or path.startswith((S3, "/")):
        return path
    if root.startswith("${"):
        raise UsageError(f"the folder of feature tables is {root}, which is not set: name a folder or an s3:// URL there")
    return f"{root.rstrip('/')}/{path}"
