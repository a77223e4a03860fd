"""What the benchmark measures with: data, link, storage and report. The benchmark itself is `make bench`."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import socket
import sys
import time
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from bench.discard import Discard
from bench.link import Link
from bench.material import MIB, PIECE_BYTES, SCALES, Noise, Pool, make_material, prepare_sound, prepare_text
from bench.picture import draw_pictures
from bench.processes import BenchError, Command, Costs, ask, interleave, measure, serving
from bench.report import Report, at_least, at_most, told
from bench.stages import discarding_stage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CRC = "rosUhgp5mIg="


@pytest.fixture(scope="module")
def storage() -> Iterator[Discard]:
    with closing(Discard()) as server:
        yield server


@pytest.fixture
def client(storage: Discard) -> Iterator[S3Client]:
    with made_client(storage) as client:
        yield client


def made_client(storage: Discard) -> closing[S3Client]:
    # Bodies as mgmt sends them, which are not chunked.
    settings = Config(
        s3={"addressing_style": "path", "payload_signing_enabled": True},
        proxies={},
        retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return closing(
        boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{storage.port}",
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="made up",
            config=settings,
        )
    )


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of every file of a folder, by its path; the sparse one is too large to read."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "sparse.mov"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def shrunk(data: bytes) -> float:
    return len(zlib.compress(data, 9)) / len(data)


# --- data ----------------------------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_data_and_another_one_other_data(tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        make_material(tmp_path / name, seed, SCALES["tiny"])
        made.append(contents(tmp_path / name))
    assert made[0] == made[1]
    assert not set(made[0].values()) & set(made[2].values())


def test_the_data_is_as_hard_to_deflate_as_what_it_stands_for() -> None:
    """Footage not at all, text to a quarter, sound by a little; and no piece helps with the next."""
    assert shrunk(Noise(1, "footage").take(MIB)) > 0.999
    assert 0.2 < shrunk(text := prepare_text(1, MIB)) < 0.32
    assert 0.7 < shrunk(prepare_sound(1, MIB // 4)) < 0.95
    assert shrunk(Pool(text, 1, "text").take(MIB)) == pytest.approx(shrunk(text), abs=0.03)
    assert PIECE_BYTES >= 2 * 32 * 1024


# --- link ----------------------------------------------------------------------------------------------


class Echo:
    """A server that reads a number of bytes and then answers with one."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def serve_one(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            left = self._size_bytes
            while left:
                left -= len(connection.recv(64 * 1024))
            connection.sendall(b".")


def carry(link: Link, size_bytes: int, connections: int = 1) -> float:
    """Send bytes through a link over several connections and return how long the last answer took."""
    from concurrent.futures import ThreadPoolExecutor

    echo = Echo(size_bytes)
    port = link.relay(echo.port)

    def send(_: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as near:
            near.sendall(bytes(size_bytes))
            assert near.recv(1) == b"."

    with closing(link), echo.listener, ThreadPoolExecutor(2 * connections) as pool:
        served = [pool.submit(echo.serve_one) for _ in range(connections)]
        began = time.monotonic()
        list(pool.map(send, range(connections)))
        taken_seconds = time.monotonic() - began
        for future in served:
            future.result()
    return taken_seconds


@pytest.mark.parametrize("connections", [1, 4])
def test_a_link_lets_through_its_rate_and_no_more_whatever_the_number_of_connections(connections: int) -> None:
    size_bytes = 2_000_000 // connections
    taken_seconds = carry(Link(bytes_per_second=4_000_000), size_bytes, connections)
    assert taken_seconds >= 0.495
    assert taken_seconds < 3  # a busy machine is late, but a link that adds up its waits would take longer


def test_a_link_takes_its_round_trip_and_one_more_for_the_handshake() -> None:
    taken_seconds = carry(Link(round_trip_seconds=0.1), 10)
    assert taken_seconds >= 0.199
    assert taken_seconds < 2


def test_a_link_names_the_server_to_one_that_insists_and_nothing_else_changes(storage: Discard) -> None:
    with closing(Link()) as link, socket.create_server(("127.0.0.1", 0)) as listener:
        far_port = listener.getsockname()[1]
        near_port = link.relay(far_port, renames_host=True)
        sent = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{near_port}\r\nX: 1\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", near_port)) as near:
            near.sendall(sent)
            connection, _ = listener.accept()
            with connection:
                got = connection.recv(1000)
    assert got == sent.replace(b"%d" % near_port, b"%d" % far_port)


# --- storage -------------------------------------------------------------------------------------------


def test_the_discarding_storage_states_of_an_object_what_its_sender_declared(client: S3Client) -> None:
    client.put_object(
        Bucket="bench", Key="a/b", Body=b"x" * 70_000, ChecksumCRC64NVME=CRC, Metadata={"operation-id": "7"}
    )
    head = client.head_object(Bucket="bench", Key="a/b", ChecksumMode="ENABLED")
    assert (head["ContentLength"], head["ChecksumCRC64NVME"], head["Metadata"]) == (70_000, CRC, {"operation-id": "7"})


def test_the_discarding_storage_joins_parts(client: S3Client) -> None:
    upload_id = client.create_multipart_upload(Bucket="bench", Key="large", Metadata={"operation-id": "8"})["UploadId"]
    bodies = [b"x" * 6_000_000, b"y" * 1_000]
    for number, body in enumerate(bodies, 1):
        client.upload_part(
            Bucket="bench", Key="large", UploadId=upload_id, PartNumber=number, Body=body, ChecksumCRC64NVME=CRC
        )
    listed = client.list_parts(Bucket="bench", Key="large", UploadId=upload_id)["Parts"]
    assert [(part["PartNumber"], part["Size"], part["ChecksumCRC64NVME"]) for part in listed] == [
        (1, 6_000_000, CRC),
        (2, 1_000, CRC),
    ]
    client.complete_multipart_upload(Bucket="bench", Key="large", UploadId=upload_id, ChecksumCRC64NVME=CRC)
    head = client.head_object(Bucket="bench", Key="large", ChecksumMode="ENABLED")
    assert (head["ContentLength"], head["ChecksumCRC64NVME"]) == (6_001_000, CRC)


def test_the_discarding_storage_reads_a_chunked_body_to_its_end(storage: Discard) -> None:
    """And goes on with the next request on the same connection."""
    with socket.create_connection(("127.0.0.1", storage.port)) as connection:
        body = b"5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\ntrailer: 1\r\n\r\n"
        connection.sendall(b"PUT /bench/c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        connection.sendall(b"HEAD /bench/c HTTP/1.1\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answers:
            said = answers.read()
    assert said.count(b"HTTP/1.1 200") == 2
    assert b"content-length: 8\r\n" in said
    assert storage.storage.objects["/bench/c"].size == 8


def test_the_keeping_storage_gives_back_what_it_was_sent_whole_and_by_ranges(tmp_path: Path) -> None:
    bodies = [random.Random(number).randbytes(6_000_000) for number in range(2)]  # noqa: S311  no secrets
    whole = b"".join(bodies)
    with closing(Discard(folder=tmp_path)) as server, made_client(server) as client:
        client.put_object(Bucket="bench", Key="small", Body=bodies[0][:1000])
        upload_id = client.create_multipart_upload(Bucket="bench", Key="large")["UploadId"]
        for number, body in enumerate(bodies, 1):
            client.upload_part(Bucket="bench", Key="large", UploadId=upload_id, PartNumber=number, Body=body)
        client.complete_multipart_upload(Bucket="bench", Key="large", UploadId=upload_id)
        assert client.get_object(Bucket="bench", Key="small")["Body"].read() == bodies[0][:1000]
        assert client.get_object(Bucket="bench", Key="large")["Body"].read() == whole
        for first, last in ((0, 0), (5_999_990, 6_000_010), (11_999_999, 12_000_500)):
            answer = client.get_object(Bucket="bench", Key="large", Range=f"bytes={first}-{last}")
            assert answer["ContentRange"] == f"bytes {first}-{min(last, len(whole) - 1)}/{len(whole)}"
            assert answer["Body"].read() == whole[first : last + 1]
        with pytest.raises(client.exceptions.ClientError, match="404"):
            client.get_object(Bucket="bench", Key="none")


# --- measuring -----------------------------------------------------------------------------------------


def python(script: str, **more: Any) -> Command:
    return Command([sys.executable, "-c", script], **more)


def test_a_cost_holds_the_time_the_processor_and_the_memory_of_the_whole_family() -> None:
    burn = "import time; began = time.process_time()\nwhile time.process_time() - began < .2: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); block = bytearray(150 << 20)"
    cost = measure(python(child))
    assert cost.cpu_seconds >= 0.2
    assert cost.wall_seconds >= 0.2
    own_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 150 * MIB < cost.peak_bytes < max(300 * MIB, own_bytes + MIB)


def test_what_a_command_makes_is_weighed_and_removed(tmp_path: Path) -> None:
    made = tmp_path / "made"
    cost = measure(python(f"open({str(made)!r}, 'wb').write(bytes(1234))", output=made))
    assert (cost.output_bytes, made.exists()) == (1234, False)


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(BenchError, match="the reason"):
        measure(python("raise SystemExit('the reason')"))


def test_contenders_take_turns() -> None:
    turns: list[str] = []

    def contender(name: str) -> Callable[[], Command]:
        def make() -> Command:
            turns.append(name)
            return python("")

        return make

    costs = interleave({"a": (3, contender("a")), "b": (1, contender("b")), "c": (2, contender("c"))})
    assert turns[:1] == ["a"], "once before, uncounted, if it runs more than twice"
    assert turns[1:] == ["a", "b", "c", "a", "c", "a"]
    assert {name: len(cost.runs) for name, cost in costs.items()} == {"a": 3, "b": 1, "c": 2}


def test_a_server_that_has_ended_is_told_of_with_its_last_words() -> None:
    with serving("bench.link", "no number") as server, pytest.raises(BenchError, match="no number"):
        server.tell(port=1, renames_host=False)


# --- report --------------------------------------------------------------------------------------------


def costs_of(*wall_seconds: float) -> Costs:
    chooser = random.Random(1)  # noqa: S311  figures, not secrets
    from bench.processes import Cost

    return Costs(tuple(Cost(seconds, seconds, chooser.randrange(MIB, 9 * MIB)) for seconds in wall_seconds))


def test_a_figure_is_reached_on_the_right_side_of_its_limit() -> None:
    assert [at_least("", 15, 15).reached, at_least("", 14.9, 15).reached] == [True, False]
    assert [at_most("", 3, 3).reached, at_most("", 3.1, 3).reached] == [True, False]
    assert told("", 1).reached is None


def test_results_are_told_written_and_drawn(tmp_path: Path) -> None:
    said: list[str] = []
    facts = {"machine": {"processors": 2}, "versions": {"python": "3", "mgmt": "1"}}
    report = Report({**facts, "seed": 1, "scale": "tiny", "date": "2026-11-01"}, said.append)
    report.add_costs("pack <text>", {"mgmt": costs_of(1, 9, 2), "cp": costs_of(4)})
    report.add_rows([at_least("pack text: as fast as cp", 2, 3), told("beside", 1)])
    report.add_profile("packing, seconds", {"text": {"reading": 1.5}, "tree": {"walking": 2.5, "reading": 0.5}})
    report.fail("carry", "no reason")
    report.summarize()
    report.write(tmp_path / "results.json")
    text = "".join(said)
    assert "NO\n" in text
    assert "0 of 1 figures reached; not measured: carry" in text
    assert [line.split() for line in text.splitlines() if "ing  " in line] == [
        ["reading", "1.50", "0.50"],
        ["walking", "2.50"],
    ]
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["scenes"]["pack <text>"]["mgmt"]["wall_seconds"] == 2
    [picture] = draw_pictures(tmp_path / "results.json", tmp_path / "pictures")
    root = ET.fromstring(picture.read_text())  # noqa: S314  drawn a line above
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "pack <text>" in words
    assert words.index("2.00 s") < words.index("4.00 s")


# --- profiles ------------------------------------------------------------------------------------------


def test_a_profile_of_packing_accounts_for_all_of_its_time(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.log").write_bytes(random.Random(number).randbytes(100_000))  # noqa: S311  no secrets
    steps = ask("bench.profile", "packing", str(tmp_path), str(tmp_path.parent / "made.tar.gz"))
    assert {"reading", "sampling and compressing", "content digest", "checksums", "writing", "syncing"} < set(steps)
    assert all(seconds > 0 for step, seconds in steps.items() if step != "between threads")


def test_a_profile_of_an_upload_tells_its_steps_in_order(tmp_path: Path) -> None:
    source = tmp_path / "clip.mov"
    source.write_bytes(bytes(MIB))
    with discarding_stage(tmp_path / "stage") as stage:
        environment = {
            "MGMT_API_URL": stage.service_url,
            "MGMT_TOKEN": stage.token,
            "MGMT_STATE_DIR": str(tmp_path / "state"),
            "MGMT_CONFIG": str(tmp_path / "none"),
        }
        words = [str(source), "--archive-dir", str(tmp_path)]
        ends = ask("bench.profile", "upload", *words, environment=environment)
    seconds = [ends[step] for step in (*list(ends)[:1], "packed and synced", "the last part has arrived", "end")]
    assert seconds == sorted(seconds)
    assert ends["the service has confirmed it"] < ends["the archive is deleted"]
