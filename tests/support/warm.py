"""`sedtool` as a program that answers at once: one process has loaded everything, and forks.

Run as a program with the path of a socket, it serves the command lines that `client` sends there,
each in a fork with the folder, environment and streams of its sender.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
CLIENT = """\
#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
request = {{"words": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}
socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
sys.exit(server.recv(1)[0])
"""


@contextlib.contextmanager
def warm_sedtool(program: Path) -> Iterator[None]:
    """Make `program` a `sedtool` that starts in no time."""
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
        path = f"{folder}/s"
        line = [sys.executable, __file__, path]
        with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE) as server:
            assert server.stdout and server.stdout.readline() == b"ready\n"
            program.write_text(CLIENT.format(python=sys.executable, path=path))
            program.chmod(0o755)
            try:
                yield
            finally:
                server.kill()


def serve(path: str) -> None:
    from support import forks

    forks.prepare()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _answer(connection)
        connection.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _answer(connection: socket.socket) -> None:
    message, streams, *_ = socket.recv_fds(connection, 2**20, 3)
    request = json.loads(message)
    if (child := os.fork()) == 0:
        connection.close()
        _run(request, streams)
    for stream in streams:
        os.close(stream)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.send(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def _run(request: dict, streams: list[int]) -> None:
    from sedtool.__main__ import main

    code: object = 99
    try:
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        for descriptor, stream in enumerate(streams):
            os.dup2(stream, descriptor)
            os.close(stream)
        sys.stdin = open(0)  # noqa: SIM115
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
        sys.argv = ["sedtool", *request["words"]]
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
    finally:
        os._exit(code if isinstance(code, int) else 99)


if __name__ == "__main__":
    serve(sys.argv[1])
