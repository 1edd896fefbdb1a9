"""A set behind a URL is read through a cache of bounded size, and nothing in it is believed."""

import io
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.remote import noise, write_set
from benchmarks.remote import serve as serve_slowly
from sagan.data import PackedDataset, open_dataset
from sagan.data.cache import find_manifest
from sagan.data.shards import cache as shard_cache
from sagan.data.shards import remote as remote_module
from sagan.data.shards.cache import CachedShards, cache_limit
from sagan.data.shards.images import ShardedImages
from sagan.data.shards.opening import open_remote
from sagan.data.windows import order_of
from sagan.errors import SaganError, UnreadableError
from tests.data.shards.conftest import IMAGE_BYTES, NUM, PER_SHARD, SIDE, Packed, Serve

SHARD_BYTES = 128 + PER_SHARD * IMAGE_BYTES
# Room is made for the largest file that would be accepted, header included.
LIMIT = 4096 + PER_SHARD * IMAGE_BYTES


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shard_cache, "RETRY_SECONDS", (0.01,) * 3)


def store_of(dataset: PackedDataset) -> CachedShards:
    assert isinstance(dataset.images, ShardedImages)
    assert isinstance(dataset.images.store, CachedShards)
    return dataset.images.store


def cached(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "shards").glob("*/images-*"))


def size_of(path: Path) -> int:
    """Bytes of a file, or 0 if the thread that reads ahead has removed it meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_set_larger_than_the_cache_is_streamed_without_much_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 shards of 150 kB at 100 Mbit/s, through a cache of 5, to steps of 10 ms."""
    monkeypatch.setenv("no_proxy", "*")
    images = noise(4800, (16, 16, 3))
    write_set(tmp_path / "set", images, 200)
    limit = 5 * (200 * 768 + 4096)
    largest, steps = 0, 150  # one epoch
    with serve_slowly(tmp_path / "set", 12.5e6) as url:
        remote = open_remote(url, streamed=True, limit=limit)
        order, store = order_of(remote, 32, 0, window=2), store_of(remote)
        for batch in range(steps):
            remote.read_ahead(order.ahead(batch, [0]))
            rows = order.part(batch, 0)
            assert np.array_equal(remote.images[rows], images[rows])
            if batch == 0:  # before it, nothing could be read ahead
                store.waited, started = 0.0, time.perf_counter()
            time.sleep(0.01)
            largest = max(largest, sum(map(size_of, cached(tmp_path))))
    assert 3 * 200 * 768 < largest <= limit
    # A thousandth on a quiet machine; on a busy one, the server and the thread wait for a core.
    assert store.waited < 0.3 * (time.perf_counter() - started)


def test_a_whole_set_is_fetched_once_and_used_in_any_order(
    packed: Packed, tmp_path: Path, serve: Serve
) -> None:
    server = serve(packed.many.path)
    calls: list[tuple[int, int | None]] = []
    for _ in range(2):
        remote = open_dataset(server.url, SIDE, progress=lambda *call: calls.append(call))
        assert np.array_equal(remote.images[:], packed.one.images[:])
        assert np.array_equal(remote.labels, packed.one.labels)
        assert remote.fingerprint == packed.one.fingerprint
    assert calls[-1] == (NUM, NUM)
    assert len(cached(tmp_path)) == 7
    assert sum(name.startswith("images-") for name in server.asked) == 7
    assert remote.at_hand(3) is remote
    manifest = find_manifest(server.url)
    assert manifest is not None
    assert manifest.num_images == NUM


def test_a_few_images_of_a_streamed_set_come_from_one_shard(packed: Packed, serve: Serve) -> None:
    server = serve(packed.many.path)
    some = open_remote(server.url, streamed=True).at_hand(PER_SHARD)
    rows = some.images[:]
    assert len(rows) == PER_SHARD
    assert some.fingerprint != packed.one.fingerprint
    assert server.asked.count("images-00000.npy") == 1
    assert server.asked[-1] == "images-00000.npy"


def test_fsspec_reads_every_other_kind_of_url(packed: Packed) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").put(str(packed.many.path), "/bucket/set", recursive=True)
    for url in ("memory://bucket/set/", f"file://{packed.many.path}"):
        assert np.array_equal(open_remote(url, streamed=False).images[:], packed.one.images[:])


@pytest.mark.parametrize("harm", ["damage", "truncate", "lengthen", "fail"])
def test_a_shard_that_arrives_damaged_is_fetched_again_once(
    packed: Packed, serve: Serve, harm: str
) -> None:
    def change(name: str, time: int, content: bytes, often: int = 1) -> bytes:
        if name != "images-00002.npy" or time > often:
            return content
        if harm == "fail":
            raise ConnectionResetError
        return {
            "damage": content[:-1] + bytes([content[-1] ^ 1]),
            "truncate": content[: len(content) // 2],
            "lengthen": content + bytes(10**7),
        }[harm]

    server = serve(packed.many.path)
    server.change = change
    whole = open_remote(server.url, streamed=False)
    assert np.array_equal(whole.images[:], packed.one.images[:])
    assert server.asked.count("images-00002.npy") == 2


def test_a_connection_that_ends_early_is_a_network_that_fails_not_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answer(io.BytesIO):
        length = 5  # that the server has still announced, as http.client counts it

    monkeypatch.setattr(remote_module, "_open_http", lambda url: Answer(b"begin"))
    with pytest.raises(UnreadableError, match="connection ended before"):
        remote_module.RemoteFolder("http://127.0.0.1/set").fetch("x", tmp_path / "x", 100)


def test_a_cache_that_may_not_be_changed_is_read(
    packed: Packed, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(packed.many.path)
    open_remote(server.url, streamed=False)

    def refuse(path: Path) -> None:
        raise PermissionError(1, "not the owner", str(path))

    monkeypatch.setattr(shard_cache.os, "utime", refuse)
    again = open_remote(server.url, streamed=False)
    assert np.array_equal(again.images[:], packed.one.images[:])


def test_what_failed_while_reading_ahead_is_fetched_again_when_it_is_needed(
    packed: Packed, serve: Serve
) -> None:
    tries = 1 + len(shard_cache.RETRY_SECONDS)

    def change(name: str, time: int, content: bytes) -> bytes:
        if name == "images-00002.npy" and time <= tries:
            raise ConnectionResetError
        return content

    server = serve(packed.many.path)
    server.change = change
    dataset = open_remote(server.url, streamed=True)
    dataset.read_ahead([2, 3])
    until = time.monotonic() + 30
    while "images-00003.npy" not in server.asked and time.monotonic() < until:
        time.sleep(0.01)
    assert server.asked.count("images-00002.npy") == tries
    assert isinstance(dataset.images, ShardedImages)
    rows = dataset.images.layout.rows(2)
    assert np.array_equal(dataset.images[rows], packed.one.images[rows])
    assert server.asked.count("images-00002.npy") == tries + 1


@pytest.mark.parametrize(
    ("harm", "asked"), [("damage", 2), ("lengthen", 2), ("remove", 1), ("empty", 2)]
)
def test_a_shard_that_stays_damaged_is_an_error_in_one_line(
    packed: Packed, tmp_path: Path, serve: Serve, harm: str, asked: int
) -> None:
    folder = shutil.copytree(packed.many.path, tmp_path / "set")
    shard = folder / "images-00002.npy"
    if harm == "remove":
        shard.unlink()
    else:
        content = {"damage": bytes(SHARD_BYTES), "lengthen": bytes(10**7), "empty": b""}
        shard.write_bytes(content[harm])
    server = serve(folder)
    with pytest.raises(SaganError) as error:
        open_remote(server.url, streamed=False)
    assert f"cannot fetch '{server.url}/images-00002.npy': " in str(error.value)
    assert "\n" not in str(error.value)
    # Also while reading ahead, if that was sooner.
    assert server.asked.count("images-00002.npy") in (asked, 2 * asked)
    assert "images-00002.npy" not in {path.name for path in cached(tmp_path)}


def test_a_shard_damaged_in_the_cache_is_fetched_again(
    packed: Packed, tmp_path: Path, serve: Serve
) -> None:
    server = serve(packed.many.path)
    open_remote(server.url, streamed=False)
    for path in cached(tmp_path)[:2]:
        path.write_bytes(bytes(SHARD_BYTES))
    whole = open_remote(server.url, streamed=False)
    assert np.array_equal(whole.images[:], packed.one.images[:])
    assert sum(name.startswith("images-") for name in server.asked) == 9


def test_a_shard_that_another_process_removed_is_fetched_again(
    packed: Packed, tmp_path: Path, serve: Serve
) -> None:
    whole = open_remote(serve(packed.many.path).url, streamed=False)
    for path in cached(tmp_path):
        path.unlink()
    assert np.array_equal(whole.images[:], packed.one.images[:])


def test_the_shards_opened_the_longest_ago_leave_first(
    packed: Packed, tmp_path: Path, serve: Serve
) -> None:
    server = serve(packed.many.path)
    remote = open_remote(server.url, streamed=True, limit=LIMIT + 2 * SHARD_BYTES)
    assert isinstance(remote.images, ShardedImages)
    for shard in (4, 0, 5, 4, 1):
        remote.images[remote.images.layout.rows(shard)]
        time.sleep(0.01)  # some disks count time coarsely
    names = sorted(path.name for path in cached(tmp_path))
    assert names == ["images-00001.npy", "images-00004.npy", "images-00005.npy"]
    assert server.asked.count("images-00004.npy") == 1


def test_what_does_not_fit_into_the_cache_is_refused_with_the_remedies(
    packed: Packed, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(packed.many.path)
    with pytest.raises(SaganError, match=r"SAGAN_SHARDS_GB to more, or .* shuffle_window=8"):
        open_remote(server.url, streamed=False, limit=6 * LIMIT)
    streamed = open_remote(server.url, streamed=True, limit=6 * LIMIT)
    streamed.read_ahead([0, 1, 2, 3, 4])
    with pytest.raises(SaganError, match="choose a smaller shuffle_window"):
        streamed.read_ahead([0, 1, 2, 3, 4, 5])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # which share the cache
    with pytest.raises(SaganError, match="choose a smaller shuffle_window"):
        streamed.read_ahead([0, 1, 2, 3])
    monkeypatch.setenv("SAGAN_SHARDS_GB", "0.5")
    assert cache_limit() == 500_000_000
    for text in ("much", "0", "nan", "inf", "1e300"):
        monkeypatch.setenv("SAGAN_SHARDS_GB", text)
        with pytest.raises(SaganError, match="SAGAN_SHARDS_GB"):
            cache_limit()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"<html>sign in</html>"])
def test_something_else_behind_a_url_is_refused_in_one_line(
    tmp_path: Path, serve: Serve, content: bytes
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "pack.json").write_bytes(content)
    server = serve(tmp_path / "set")
    with pytest.raises(SaganError) as error:
        open_dataset(server.url, 4)
    assert server.url in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "cache").exists()


def test_a_url_without_a_set_in_shards_is_refused(packed: Packed, serve: Serve) -> None:
    with pytest.raises(SaganError, match="is not in shards: pack it with --shards"):
        open_dataset(serve(packed.one.path).url, SIDE)
    with pytest.raises(SaganError, match=r"cannot read a packed data set at 'http://.*404"):
        open_dataset(serve(packed.one.path).url + "/elsewhere", SIDE)
    with pytest.raises(SaganError, match="'nonsense://x'"):
        open_dataset("nonsense://user:secret@x", SIDE)
