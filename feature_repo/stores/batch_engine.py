"""Feast batch engine that materialises a view in batches of rows, without protobuf messages, between this package's stores.

Feast's local engine holds all latest rows of a view at once and makes a message of every value, which is most of the memory and time. Rows
are written to the generation of their tables only, since in another one the scale of counts differs.
"""

from typing import Any, Literal

from feast import FileSource, types
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.registry.base_registry import BaseRegistry

from feature_repo.stores import row_codec
from feature_repo.stores.offline_store import AsOfOfflineStore, generation_of, latest
from feature_repo.stores.redis_store import PackedRedisOnlineStore
from feature_repo.stores.sqlite_store import PackedSqliteOnlineStore


class StreamingEngineConfig(LocalComputeEngineConfig):
    """`batch_engine` of feature_store.yaml: Feast's options of its local engine, with the type that names StreamingEngine."""

    type: Literal["feature_repo.stores.batch_engine.StreamingEngine"] = "feature_repo.stores.batch_engine.StreamingEngine"  # type: ignore[assignment]


class StreamingEngine(LocalComputeEngine):
    """Streams views with a file source and one string key; other views are left to Feast's engine."""

    def _materialize_one(self, registry: BaseRegistry, task: MaterializationTask, **options: Any) -> LocalMaterializationJob:
        view, online = task.feature_view, self.online_store
        if not isinstance(online, PackedSqliteOnlineStore | PackedRedisOnlineStore) or not self._can_stream(view):
            return super()._materialize_one(registry, task, **options)
        (key,) = view.entity_columns
        config = self.repo_config
        try:
            generation = generation_of(config)
            start = online.since(config, view, generation, task.start_time)
            for table, event_us, known_us in latest(config, view, (start, task.end_time)):
                online.write_rows(config, view, row_codec.from_table(view, key.name, table, event_us, known_us), generation)
            online.filled(config, view, generation, task.end_time)
        except Exception as error:  # Feast raises the error of the job
            return LocalMaterializationJob(job_id=view.name, status=MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job_id=view.name, status=MaterializationJobStatus.SUCCEEDED)

    def _can_stream(self, view: Any) -> bool:
        keys = view.entity_columns
        is_plain = isinstance(view.batch_source, FileSource) and [key.dtype for key in keys] == [types.String]
        is_whole = view.online and not view.offline and not getattr(view, "feature_transformation", None)
        return bool(is_plain and is_whole and isinstance(self.offline_store, AsOfOfflineStore))
