"""What is wrong with an object store, its address or the credentials is said as it is, with what mends it; never a stack trace."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError, ReadTimeoutError

from lodestar.data.ingest import validate
from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from lodestar.io.s3 import s3_faults, s3_objects

DATA = "s3://clicks/2026/events.csv"
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
NOWHERE = "http://127.0.0.1:1"
Answer = Callable[[socket.socket], object]


def http(status: str, body: str = "") -> Answer:
    reply = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    return lambda connection: connection.sendall(reply)


def error(status: str, code: str) -> Answer:
    return http(status, f"<Error><Code>{code}</Code><Message>said by the store</Message></Error>")


@contextlib.contextmanager
def server(answer: Answer) -> Iterator[str]:
    """Address of a server that gives one answer to every request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(1 << 16)
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_ENDPOINT_URL_S3", *KEYS):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in {"ATTEMPTS": 1, "READ_S": 0.2, "CONNECT_S": 0.2}.items():
        monkeypatch.setattr(s3_objects, name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    s3_objects._client.cache_clear()
    yield
    s3_objects._client.cache_clear()


def said(monkeypatch: pytest.MonkeyPatch, endpoint: str, **settings: str) -> str:
    for name, value in {**settings, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentFault, match=r"^E569 ") as caught:
        validate(DATA)
    assert caught.value.exit_code == 5
    return str(caught.value)


SETTINGS: dict[str, tuple[str, dict[str, str], str, str]] = {
    "no credentials": (NOWHERE, {}, "there are no credentials", "AWS_ACCESS_KEY_ID"),
    "half of them": (NOWHERE, {"AWS_ACCESS_KEY_ID": "a"}, "there are no credentials", "AWS_SECRET_ACCESS_KEY"),
    "no such profile": (NOWHERE, {"AWS_PROFILE": "nobody"}, "there are no credentials", "AWS_PROFILE"),
    "no store": (NOWHERE, KEYS, "no store can be reached", "AWS_ENDPOINT_URL"),
    "no such host": ("http://nohost.invalid:9000", KEYS, "no store can be reached", "AWS_ENDPOINT_URL"),
    "no URL": ("localhost:9000", KEYS, "a setting of AWS is invalid", "http://HOST:PORT"),
    "no region": (NOWHERE, {**KEYS, "AWS_DEFAULT_REGION": "no region!"}, "a setting of AWS is invalid", "Correct it"),
}


@pytest.mark.parametrize("what", SETTINGS)
def test_a_wrong_setting_is_said(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, settings, message, remedy = SETTINGS[what]
    found = said(monkeypatch, endpoint, **settings)
    assert message in found
    assert remedy in found


ANSWERS: dict[str, tuple[Answer, str, str]] = {
    "no bucket": (error("404 Not Found", "NoSuchBucket"), "there is no such bucket", "Check its name"),
    "denied": (error("403 Forbidden", "AccessDenied"), "the store denies it", "s3:GetObject"),
    "denied without a word": (http("403 Forbidden"), "the store denies it", "s3:GetObject"),
    "wrong key": (error("403 Forbidden", "SignatureDoesNotMatch"), "does not know the credentials", "AWS_SECRET_ACCESS_KEY"),
    "expired": (error("400 Bad Request", "ExpiredToken"), "the credentials have expired", "AWS_SESSION_TOKEN"),
    "another time": (error("403 Forbidden", "RequestTimeTooSkewed"), "the clock of this machine", "Set the clock"),
    "busy": (error("503 Slow Down", "SlowDown"), "the store is busy", "Run the same command again"),
    "an unknown fault": (error("400 Bad Request", "Whatever"), "the request to the store failed", "AWS_ENDPOINT_URL"),
    "a web page": (http("200 OK", "<html><body>hello</body></html>"), "what answers is no object store", "AWS_ENDPOINT_URL"),
    "a web page that is not found": (http("404 Not Found", "<html></html>"), "what answers is no object store", "AWS_ENDPOINT_URL"),
    "nothing": (http("200 OK"), "what answers is no object store", "AWS_ENDPOINT_URL"),
    "another protocol": (lambda connection: connection.sendall(b"SSH-2.0\r\n"), "the store is busy or fails", "Run the same"),
    "silence": (lambda connection: connection.recv(1), "the store does not answer in time", "Run the same command again"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_that_is_no_object_is_said(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, message, remedy = ANSWERS[what]
    with server(answer) as endpoint:
        found = said(monkeypatch, endpoint, **KEYS)
    assert DATA in found
    assert message in found
    assert remedy in found


def test_a_secure_address_of_a_server_without_tls_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(http("200 OK")) as endpoint:
        assert "there is no secure connection" in said(monkeypatch, endpoint.replace("http:", "https:"), **KEYS)
        s3_objects._client.cache_clear()
        found = said(monkeypatch, endpoint.replace("http:", "https:"), **KEYS, AWS_CA_BUNDLE="/nothing")
    assert "AWS_CA_BUNDLE" in found


def test_what_a_server_that_is_no_store_accepts_does_not_count_as_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(http("200 OK", "<html></html>")) as endpoint:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        asks: list[Callable[[], object]] = [lambda: storage.put(b"x", DATA), lambda: storage.get(DATA)]
        for ask in asks:
            with pytest.raises(EnvironmentFault, match=r"E569 s3://clicks/2026/events\.csv: what answers is no object store"):
                ask()


def test_a_bucket_of_another_region_is_said_after_botocore_has_looked_for_it() -> None:
    response: Any = {"Error": {"Code": "PermanentRedirect", "Message": "said by the store"}}
    with (
        pytest.raises(EnvironmentFault, match=r"E569 s3://clicks: the bucket lies in another region .*AWS_DEFAULT_REGION"),
        s3_faults.coded("s3://clicks"),
    ):
        raise ClientError(response, "ListObjectsV2")


def test_the_fault_of_an_upload_is_the_one_that_ended_it() -> None:
    with pytest.raises(EnvironmentFault, match=r"E569 s3://clicks: the store does not answer in time"), s3_faults.coded("s3://clicks"):
        raise S3UploadFailedError("an upload failed") from ReadTimeoutError(endpoint_url=NOWHERE)
