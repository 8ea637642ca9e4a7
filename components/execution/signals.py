"""Signal delivery to pipeline steps: exec Python in place of kfp's shell, so that SIGTERM reaches it.

Kubeflow Pipelines runs a step's Python as the child of a shell. Kubernetes and Argo signal that shell or the first process of the
container, and neither forwards the signal.
"""

from typing import Any, TypeVar

SHELL, PYTHON = "_KFP_RUNTIME=true python3", "_KFP_RUNTIME=true exec python3"

Component = TypeVar("Component")


def exec_python(component: Component) -> Component:
    """Change a component's command so that Python replaces its shell (`exec`) and receives signals; returns the component."""
    container: Any = component.component_spec.implementation.container  # type: ignore[attr-defined]
    container.command = [part.replace(SHELL, PYTHON) for part in container.command]
    if not any(PYTHON in part for part in container.command):
        raise RuntimeError("kfp starts a component's Python by an unknown command")
    return component
