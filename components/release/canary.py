"""Canary rollout from the pipeline: permission checks, and the start of a canary with a published bundle."""

from components.kubernetes.access_review import Permission, require_permissions


def check_rights(service: str) -> None:
    """Check that this account may roll out to a service (NAME or NAMESPACE/NAME; empty: no check), before a bundle is published.

    Raises EnvironmentFault E537 with the missing permissions; E596 if the service does not exist, E540, E545, E570 or E571 if its
    traffic cannot be split. A published bundle that cannot be rolled out would be half a release.
    """
    if service:
        from serving.rollout.api_client import api_client
        from serving.rollout.kserve_api import PLURALS, RECORD, RIGHTS, place, record_name
        from serving.rollout.rollout import check_canary_mode

        namespace, name = place(service)
        needed = [
            # The Role grants the ConfigMap by its name; a creation has none yet.
            Permission(
                verb=verb,
                resource=resource,
                namespace=namespace,
                group=group,
                name=record_name(name) if resource == PLURALS[RECORD] and verb != "create" else "",
            )
            for group, resource, verb in RIGHTS
        ]
        require_permissions(needed, api_client())
        check_canary_mode(service)


def deploy(address: str, destination: str, service: str) -> None:
    """Start a canary rollout of the bundle at an `s3://` address; no effect without a service or a destination.

    It is skipped, with a log line, if another bundle is current at the destination by now, or an operator has already decided on this one.
    Raises EnvironmentFault E537 if a permission is missing, before any change; a start interrupted by SIGTERM or a fault is undone.
    """
    if not (service and destination):
        return
    from lodestar.io import storage
    from lodestar.progress import log_event
    from serving.rollout.rollout import start_from_pipeline

    check_rights(service)
    if (current := storage.resolve(destination)) != address:
        log_event("rollout", service=service, bundle=address, state="skipped: another bundle is current by now", current=current)
        return
    start_from_pipeline(service, address)
