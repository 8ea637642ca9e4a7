"""Step: ingest data into the tables of the data contract, with row validation."""

from kfp import dsl
from kfp.dsl import Dataset, Markdown, Output

from components.execution.signals import exec_python
from components.images.image import image_reference


@exec_python
@dsl.component(base_image=image_reference("features"), install_kfp_package=False)
def ingest(data: str, data_version: str, quarantine: bool, tables: Output[Dataset], report: Output[Markdown]) -> None:
    """Ingest a folder, a file or the simulator into the tables of the data contract, with validation of every row.

    Args:
        data: A folder of tables of the data contract, a known dataset's folder, one file of events, or `simulator`.
        data_version: Any text that changes with the data; the step is cached for unchanged data.
        quarantine: Whether rows with errors are dropped and counted, instead of failing the step.
        tables: The tables as Parquet, with a report and a manifest.
        report: Numbers of rows read, kept and dropped, by rule.
    """
    from pathlib import Path

    from components.execution.step import step
    from lodestar.data.ingest import ingest

    with step("ingest", outputs=(tables, report)):
        result = ingest(data, Path(tables.path), quarantine=quarantine)
        tables.metadata.update(data=data, data_version=data_version)
        Path(report.path).write_text(result.markdown())
