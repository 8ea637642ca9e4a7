"""Step: bring data into the contract's tables."""

from kfp import dsl
from kfp.dsl import Dataset, Markdown, Output

from components.image import reference
from components.signals import reachable


@reachable
@dsl.component(base_image=reference("features"), install_kfp_package=False)
def ingest(data: str, data_version: str, quarantine: bool, tables: Output[Dataset], report: Output[Markdown]) -> None:
    """Read a folder, a file or the simulator into the contract's tables, checked row by row.

    Args:
        data: A folder of the contract's tables, a known dataset's folder, one file of events, or `simulator`.
        data_version: Any text that changes when the data do; unchanged data are not read twice.
        quarantine: Whether bad rows are set aside, and the good ones go on.
        tables: The tables as Parquet, with a report and a manifest.
        report: Rows in, kept and dropped, rule by rule.
    """
    from pathlib import Path

    from components.step import step
    from lodestar.data.ingest import ingest

    with step("ingest", outputs=(tables, report)):
        result = ingest(data, Path(tables.path), quarantine=quarantine)
        tables.metadata.update(data=data, data_version=data_version)
        Path(report.path).write_text(result.markdown())
