"""Workers that were started together wait for one another, and not for ever."""

import secrets
from datetime import timedelta

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from lodestar.errors import EnvironmentFault
from lodestar.training.distributed import distributed
from tests.ports import free_port


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    """What torchrun keeps, and an environment in which the second of two workers runs."""
    kept = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    named = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(kept.port)}
    for name, value in {**named, "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "RENDEZVOUS_TIMEOUT", timedelta(seconds=1))
    return kept


def test_rank_zero_answers_who_is_there(store: TCPStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    store.set("meeting/3/1", "me")
    distributed.rendezvous()
    assert store.get("meeting/3/1/me") == b"seen"


def test_a_worker_goes_on_when_it_is_answered(store: TCPStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _bytes: "me")
    store.set("meeting/3/1/me", "seen")
    distributed.rendezvous()
    assert store.get("meeting/3/1") == b"me"


@pytest.mark.parametrize("left", ["meeting/2/1/me", "meeting/3/0", "meeting/3/1/who-was-here-before"])
def test_who_waits_in_vain_says_so_and_ends(store: TCPStore, left: str) -> None:
    """What a round before left, or this round's first workers, is no answer."""
    store.set(left, "seen")
    with pytest.raises(EnvironmentFault, match=r"E536.*worker 1 waited 1 s for the others of 2"):
        distributed.rendezvous()


def test_a_meeting_place_that_is_gone_is_a_coded_error_too(store: TCPStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with pytest.raises(EnvironmentFault, match="E536"):
        distributed.rendezvous()


def test_a_worker_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    distributed.rendezvous()
