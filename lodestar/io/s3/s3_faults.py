"""Faults of an object store as coded errors (E569): what failed, and the setting or the permission that mends it."""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from lodestar.errors import EnvironmentFault


class _Fault(NamedTuple):
    """What is wrong, and what mends it."""

    what: str
    remedy: str


_UNKNOWN = _Fault("the request to the store failed", "Check AWS_ENDPOINT_URL, the credentials, their permissions and the bucket.")
_NO_CREDENTIALS = _Fault(
    "there are no credentials of the store", "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile that has them."
)
_WRONG_CREDENTIALS = _Fault(
    "the store does not know the credentials", "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL."
)
_EXPIRED = _Fault("the credentials have expired", "Sign in again, and set the new AWS_SESSION_TOKEN with its key.")
_DENIED = _Fault(
    "the store denies it to these credentials", "Allow them s3:ListBucket on the bucket, and s3:GetObject and s3:PutObject on its objects."
)
_NO_BUCKET = _Fault("there is no such bucket", "Check its name, and AWS_ENDPOINT_URL for a store that is not Amazon's.")
_OTHER_REGION = _Fault("the bucket lies in another region", "Set AWS_DEFAULT_REGION to it.")
_CLOCK = _Fault("the clock of this machine differs from that of the store", "Set the clock.")
_BUSY = _Fault("the store is busy or fails", "Run the same command again in a few minutes.")
_NO_ANSWER = _Fault("no store can be reached", "Check AWS_ENDPOINT_URL, the proxy and the network.")
_SLOW = _Fault("the store does not answer in time", "Run the same command again; if it stays so, check AWS_ENDPOINT_URL and the network.")
_CERTIFICATE = _Fault("there is no secure connection to the store", "Check AWS_ENDPOINT_URL, and AWS_CA_BUNDLE: the file of its authority.")
_NO_STORE = _Fault("what answers is no object store", "Check AWS_ENDPOINT_URL: it is the address of the store's S3 interface.")
_SETTING = _Fault("a setting of AWS is invalid", "Correct it: AWS_ENDPOINT_URL is http://HOST:PORT or https://HOST.")
# By the store's own codes; an answer without a body has its HTTP status as code.
_BY_CODE = {
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "401"), _DENIED),
    **dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId"), _WRONG_CREDENTIALS),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"), _EXPIRED),
    **dict.fromkeys(("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "301", "307"), _OTHER_REGION),
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "500", "502", "503", "504"), _BUSY),
    "NoSuchBucket": _NO_BUCKET,
    "RequestTimeTooSkewed": _CLOCK,
    "": _NO_STORE,
}
_BY_CLASS = {
    **dict.fromkeys(("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"), _NO_CREDENTIALS),
    **dict.fromkeys(("CredentialRetrievalError", "TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError"), _EXPIRED),
    **dict.fromkeys(("EndpointConnectionError", "ProxyConnectionError", "ConnectTimeoutError"), _NO_ANSWER),
    **dict.fromkeys(("ConnectionClosedError", "IncompleteReadError", "ResponseStreamingError"), _BUSY),
    "ReadTimeoutError": _SLOW,
    "SSLError": _CERTIFICATE,
    "ResponseParserError": _NO_STORE,
    **dict.fromkeys(("InvalidRegionError", "ConfigParseError", "ConfigNotFound", "ValueError"), _SETTING),
}


@contextlib.contextmanager
def coded(address: str) -> Iterator[None]:
    """Turn errors of the store, the connection or their settings into EnvironmentFault E569 with the address."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError, ResponseParserError) as error:
        raise _fault(address, error) from error


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Turn a ValueError about the settings of a client into EnvironmentFault E569: botocore has no class for an endpoint that is no URL."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise _fault(os.environ.get("AWS_ENDPOINT_URL", "s3"), error) from error


def no_store(address: str) -> EnvironmentFault:
    """E569 for a server that does not answer as an object store does."""
    return EnvironmentFault("E569", f"{address}: {_NO_STORE.what}", remedy=_NO_STORE.remedy)


def _fault(address: str, error: Exception) -> EnvironmentFault:
    fault = _known(error)
    return EnvironmentFault("E569", f"{address}: {fault.what} ({type(error).__name__}: {error})", remedy=fault.remedy)


def _known(error: BaseException) -> _Fault:
    """The fault of an error, or of the one that it wraps."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return _BY_CODE.get(str(response.get("Error", {}).get("Code", "")), _UNKNOWN)
    if found := next((fault for name, fault in _BY_CLASS.items() if name in {one.__name__ for one in type(error).__mro__}), None):
        return found
    inner = error.__cause__ or error.__context__
    return _known(inner) if inner else _UNKNOWN
