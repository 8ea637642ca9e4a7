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


def deploy(address: str, service: str) -> None:
    """Begin a canary of the service with the bundle at an `s3://` address; nothing where none is named.

    EnvironmentFault E537 before anything is made where a right is missing; what SIGTERM or a fault ends is taken back.
    """
    if service:
        from serving.rollout import start_canary

        check_rights(service)
        start_canary(service, address)
