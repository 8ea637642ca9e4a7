"""Hand a published bundle to an InferenceService, once it is known that this account may."""

from components.kubernetes_access import Right, require


def check_rights(service: str) -> None:
    """EnvironmentFault E537 that names what a rollout of the service (NAME or NAMESPACE/NAME) does and this account may not; empty is none.

    A service that is not there, or whose requests cannot be split, is refused too (E540, E541, E570, E571). Asked before a bundle is
    published: what is published and cannot be rolled out would be half a release.
    """
    if service:
        from serving.cluster import RIGHTS, connect, place
        from serving.rollout import check_form

        connect(service)
        namespace = place(service)[0]
        require([Right(verb=verb, resource=resource, namespace=namespace, group=group) for group, resource, verb in RIGHTS])
        check_form(service)


def deploy(address: str, destination: str, service: str) -> None:
    """Begin a canary of the service with the bundle at an `s3://` address; nothing where no service or no destination is named.

    Nothing either, and that is said, where the destination's current bundle is another one by now, or an operator has decided on this one.
    EnvironmentFault E537 before anything is made where a right is missing; what SIGTERM or a fault interrupts is undone.
    """
    if not (service and destination):
        return
    from lodestar import storage
    from lodestar.progress import log_event
    from serving.rollout import offer

    check_rights(service)
    if (current := storage.resolve(destination)) != address:
        log_event("rollout", service=service, bundle=address, state="left alone: another bundle is current by now", current=current)
        return
    offer(service, address)
