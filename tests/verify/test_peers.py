"""What is known of engines written elsewhere is found again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench_cli.faults import peers
from bench_cli.faults.peers import PEERS, Found, Peer, has_apsw, rediscover
from tests.cli.conftest import Bench, bench, project

__all__ = ["bench", "project"]  # fixtures

needs_apsw = pytest.mark.skipif(not has_apsw(), reason="apsw is not installed")


def found(name: str, place: Path) -> Found:
    peer = next(peer for peer in PEERS if peer.name == name)
    return rediscover(peer, 250, 42, place)


@pytest.mark.parametrize(
    "peer",
    [pytest.param(p, marks=needs_apsw) if p.needs_apsw else p for p in PEERS],
    ids=lambda peer: peer.name,
)
def test_the_known_behaviour_is_found_again(peer: Peer, tmp_path: Path) -> None:
    assert rediscover(peer, 250, 42, tmp_path).as_known


@needs_apsw
@pytest.mark.parametrize(("name", "lost"), [("wal-full", 0), ("delete-full", 1)])
def test_how_much_is_lost_is_counted(name: str, lost: int, tmp_path: Path) -> None:
    assert found(f"sqlite-{name}", tmp_path).lost == lost


@needs_apsw
def test_what_loses_more_than_is_known_differs(tmp_path: Path) -> None:
    normal = next(peer for peer in PEERS if peer.name == "sqlite-wal-normal")
    claimed = rediscover(replace(normal, known=0), 250, 42, tmp_path)
    assert claimed.lost > 1
    assert not claimed.as_known


def test_a_peer_without_its_package_is_skipped_with_the_reason(
    bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "has_apsw", lambda: False)
    ended = bench("verify", "--peers", "--images", "100", "--quiet", width=150)
    assert ended.code == 0
    assert "install the extra `peers`" in ended.out
    assert "1 of 1 peers do what is known of them." in ended.out


def test_a_difference_ends_with_20(
    bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = replace(PEERS[-1], sound=True)
    monkeypatch.setattr(peers, "PEERS", (plain,))
    ended = bench("verify", "--peers", "--images", "100", "--quiet", width=150)
    assert ended.code == 20
    assert "DIFFERS" in ended.out
