"""`pnn doctor`: what it says of this machine, that it finds what is planted, and that it leaves nothing."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from orchestrator import machine

DATA = os.environ.get("PNN_DATA")


@pytest.fixture
def doctor(pnn, tmp_path):
    """doctor(code, **environment) -> lines; with its own folder for temporary files, and by default without data."""
    place, temporary = tmp_path / "out", tmp_path / "tmp"
    place.mkdir()
    temporary.mkdir()

    def run(code, out=None, **environment):
        environment = {"TMPDIR": str(temporary), "PNN_DATA": "", **environment}
        arguments = ["doctor"] if out is None else ["doctor", "--out", out]
        if not environment["PNN_DATA"]:
            (tmp_path / "empty").mkdir(exist_ok=True)
            environment["PNN_DATA"] = str(tmp_path / "empty")
        return pnn(*arguments, code=code, cwd=place, env=environment).stdout.strip().split("\n")

    return run


def starting(lines, *beginnings):
    """The one line that begins so."""
    found = [line for line in lines if line.startswith(beginnings)]
    assert len(found) == 1, (beginnings, lines)
    return found[0]


def test_a_good_machine(doctor, tmp_path):
    lines = doctor(0)
    assert all(line[:5] in ("ok   ", "note ") for line in lines)
    for package in ("Python", "ray", "jax", "jaxlib", "flax", "optax", "numpy", "pydantic", "mlflow", "safetensors"):
        assert re.fullmatch(rf"ok   {package} \d+\.\d+\S*", starting(lines, f"ok   {package} "))
    assert re.fullmatch(r"ok   \d+ cores", starting(lines, f"ok   {len(os.sched_getaffinity(0))} cores"))
    memory = r"ok   memory: [\d.]+ GiB available of [\d.]+ GiB(, limited by a control group to [\d.]+ GiB)?"
    assert re.fullmatch(memory, starting(lines, "ok   memory"))
    assert starting(lines, "ok   no Ray cluster is left over")
    assert starting(lines, "ok   port 5000", "note port 5000")
    assert starting(lines, "ok   no process of Ray listens", "note Ray listens beyond this machine, on the ports ")
    assert starting(lines, "ok   data set digits").endswith("embedded: 3,823 training and 1,797 test samples")
    assert starting(lines, "note data set mnist is absent")
    assert re.match(r"ok   [\d.,]+ GiB free on the disk of ", lines[-2])
    assert re.match(r"ok   it writes [\d,]+ MiB/s, and makes a record of a step last in [\d.]+ ms", lines[-1])
    assert not list((tmp_path / "out").iterdir()) and not list((tmp_path / "tmp").iterdir())


def test_where_compiled_code_is_kept(doctor, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x").write_bytes(bytes(3 << 20))
    told = starting(doctor(0, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "kept")), "ok   compiled code")
    assert told == f"ok   compiled code is kept in {tmp_path / 'kept'}, 3 MiB"
    told = starting(doctor(0, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "kept" / "x")), "note compiled code cannot")
    assert "compiles anew" in told
    assert "is not kept" in starting(doctor(0, JAX_ENABLE_COMPILATION_CACHE="false"), "note compiled code")


def test_data_that_are_not_there(doctor, tmp_path):
    lines = doctor(1, PNN_DATA=str(tmp_path / "none"))
    assert "is no folder" in starting(lines, f"BAD  PNN_DATA = {tmp_path / 'none'}")
    assert lines[-1] == "1 thing is bad."


@pytest.mark.skipif(not DATA, reason="PNN_DATA is not set")
def test_a_truncated_file_is_named(doctor, tmp_path):
    shutil.copytree(Path(DATA) / "mnist", tmp_path / "data" / "mnist")
    file = tmp_path / "data" / "mnist" / "train-images-idx3-ubyte.gz"
    assert starting(doctor(0, PNN_DATA=str(tmp_path / "data")), "ok   data set mnist").endswith("10,000 test samples")
    file.chmod(0o600)
    os.truncate(file, 1_000_000)
    told = starting(doctor(1, PNN_DATA=str(tmp_path / "data")), "BAD  data set mnist is incomplete")
    assert f"{file}: expected an intact file" in told and f"{file.name} 1,000,000 bytes" in told
    (tmp_path / "data" / "mnist").chmod(0o700)
    file.unlink()
    told = starting(doctor(1, PNN_DATA=str(tmp_path / "data")), "BAD  data set mnist is incomplete")
    assert f"{file}: expected a file, found none" in told


def test_the_folder_of_the_runs(doctor, tmp_path):
    lines = doctor(0, out=tmp_path / "new" / "run")
    assert f"free on the disk of {tmp_path}" in lines[-2] and not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    assert "is no folder" in starting(doctor(1, out=tmp_path / "file"), f"BAD  {tmp_path / 'file'}")
    full = starting(doctor(1, out="/proc/sys"), "BAD  nothing can be written to /proc/sys")
    assert "name another folder with --out" in full


def ended_pid():
    """The id of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_a_killed_run_left(doctor, tmp_path):
    gone, here = (tmp_path / "tmp" / f"pnn-{pid}-abc" for pid in (ended_pid(), os.getpid()))
    for folder in (gone, here):
        folder.mkdir()
    (tmp_path / "tmp" / "pnn-ci.xyz").mkdir()
    assert starting(doctor(1), "BAD  1 temporary folders").endswith(f": rm -r {gone}")
    gone.rmdir()
    doctor(0)


@contextlib.contextmanager
def disguised(folder):
    """A process that listens on all interfaces and has the name and the folder of a raylet: (pid, port)."""
    code = (
        "import socket, time; s = socket.create_server(('', 0)); print(s.getsockname()[1], flush=True); time.sleep(90)"
    )
    process = subprocess.Popen(
        ["raylet", "-c", code, f"--session_dir={folder}/session"], executable=sys.executable, stdout=subprocess.PIPE
    )
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_ray_processes_are_told_and_never_ended(doctor, tmp_path):
    with disguised(tmp_path / "tmp" / f"pnn-{ended_pid()}-abc") as (pid, port):
        lines = doctor(1)
        lost = starting(lines, "BAD  Ray processes whose run is gone: ")
        assert f"raylet {pid}" in lost and f"kill {pid}" in lost
        assert f"{port} (raylet {pid})" in starting(lines, "note Ray listens beyond this machine, on the ports ")
        time.sleep(0.1)
        os.kill(pid, 0)  # it lives
    with disguised(tmp_path / "tmp" / f"pnn-{os.getpid()}-abc") as (pid, _):
        assert f"raylet {pid}" in starting(doctor(0), "note Ray is running here: ")


def test_a_port_in_use_is_no_harm(doctor):
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # somebody else has it
            stack.enter_context(socket.create_server(("127.0.0.1", 5000)))
        assert "--port" in starting(doctor(0), "note port 5000 is in use")


def test_versions_and_limits(monkeypatch):
    doctor = import_module("orchestrator.cli.doctor")
    versions = {"ray": "2.9.3", "jax": "0.10.2"}

    def version(name):
        if name not in versions:
            raise doctor.importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    lines = {line.what: line for line in doctor._versions()}
    assert lines["ray 2.9.3"].state == "BAD" and lines["jax 0.10.2"].state == "ok" and lines["flax"].state == "BAD"
    monkeypatch.setattr(machine, "control_groups", lambda: [(2 << 30, 3 << 29)])
    line = list(doctor._machine())[1]
    assert line.state == "BAD" and "memory: 0.5 GiB available of 2.0 GiB, limited by a control group" in line.what
    monkeypatch.setattr(machine, "available_bytes", lambda: 3 << 29)
    assert list(doctor._machine())[1].state == "ok"


def test_nothing_is_left_even_if_it_is_interrupted(tmp_path):
    """The file that is written has no name."""
    doctor = import_module("orchestrator.cli.doctor")
    seen = []
    real = os.fsync

    def fsync(descriptor):
        seen.append(list(tmp_path.iterdir()))
        real(descriptor)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(KeyboardInterrupt):
            list(doctor._disk(str(tmp_path)))
    assert seen == [[]]
