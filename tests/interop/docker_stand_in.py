"""A `docker` for machines without an engine: as much of it as the local modes of the SageMaker SDK and `oba up` call.

    docker compose -f FILE up --build --abort-on-container-exit
    docker run --rm --name NAME --network=host --publish=127.0.0.1:PORT:8080 --volume=… --env=… IMAGE COMMAND
    docker rm --force NAME

The images that it has are this project's commands: the last part of an image's name is the algorithm. A container is a
process in a folder whose links are the container's mounts, which the command takes for /opt/ml; it has its own
environment, a terminal where the compose file says so, and its port. Of several containers each has its own loopback
address, which they find under its service's name, in a file that is /etc/hosts to them alone. With
STAND_IN_ENGINE=buildah the images are real ones, run by buildah in a chroot. The stand-in runs in the SDK's
environment, whose PyYAML reads the compose file; the variable STAND_IN_COMMANDS is the folder of `train` and `serve`,
and STAND_IN_IMAGES has the names of the algorithms, with commas.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = PurePosixPath("/opt/ml")
DEFAULT_COMMAND = "train"
"""What the Dockerfile's CMD says."""

BUILDAH = os.environ.get("STAND_IN_ENGINE") == "buildah"
INTERRUPTED = 130
STOP_SECONDS = 30


def main(arguments: Sequence[str]) -> int:
    """The exit code of ``docker`` with these arguments."""
    if arguments[:2] == ["compose", "version"]:
        print("Docker Compose version v2.40.3")
        return 0
    if arguments[:2] == ["images", "-q"]:
        print("sha256:0" if has(arguments[2]) else "")
        return 0
    if arguments[:2] == ["context", "inspect"]:
        print('[{"Endpoints": {"docker": {"Host": "unix:///var/run/docker.sock"}}}]')
        return 0
    if arguments[:2] == ["compose", "-f"] and arguments[3:4] == ["up"]:
        return up(Path(arguments[2]))
    if arguments[:1] == ["info"]:
        return 0
    if arguments[:2] == ["image", "inspect"]:
        return 0 if has(arguments[2]) else 1
    if arguments[:1] == ["run"]:
        return run(arguments[1:])
    if arguments[:2] == ["rm", "--force"]:
        return remove(arguments[2])
    print(f"docker: the stand-in knows no 'docker {' '.join(arguments)}'", file=sys.stderr)
    return 125


def algorithm(image: str) -> str:
    """The algorithm that an image's name ends in.

    >>> algorithm("382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1")
    'kmeans'
    """
    return image.rpartition("/")[2].partition(":")[0]


def has(image: str) -> bool:
    """Whether the image is there."""
    if BUILDAH:
        return subprocess.run(["buildah", "inspect", "--type=image", image], capture_output=True).returncode == 0
    return algorithm(image) in os.environ["STAND_IN_IMAGES"].split(",")


def run(arguments: Sequence[str]) -> int:
    """``docker run``: the exit code of the container, which goes on where this client is killed."""
    options: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest[0].startswith("--"):
        name, _, value = rest.pop(0).partition("=")
        if name in ("--name", "--user"):
            value = rest.pop(0)
        options.setdefault(name, []).append(value)
    image, *words_given = rest
    if not has(image):
        print(f"docker: Error response from daemon: pull access denied for {image}")
        return 125
    inside = [text for text in options["--volume"] if PurePosixPath(text.split(":")[1]).is_relative_to(ROOT)]
    service = {"image": image, "command": words_given, "environment": options.get("--env", [])}
    if published := options.get("--publish"):
        service["ports"] = [published[0].partition(":")[2]]
    base = Path(inside[0].split(":")[0])
    process = subprocess.Popen(command(service), env=environment(service, base), cwd=base, start_new_session=True)
    record = running(options["--name"][0])
    record.write_text(str(process.pid))
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    finally:
        record.unlink(missing_ok=True)


def running(name: str) -> Path:
    """Has the process of a container by this name while it runs."""
    return Path(tempfile.gettempdir()) / f"stand-in-{name}"


def remove(name: str) -> int:
    """``docker rm --force``."""
    if not (record := running(name)).exists():
        return 1
    os.killpg(int(record.read_text()), signal.SIGKILL)
    record.unlink(missing_ok=True)
    return 0


def up(file: Path) -> int:
    """``docker compose up --abort-on-container-exit``: the exit code of the first container that ends.

    Containers are no children of the command but of a process of their own, as they are of Docker's daemon: the SDK
    looks for children, to end them itself.
    """
    import yaml

    services = yaml.safe_load(file.read_text())["services"]
    unknown = [service["image"] for service in services.values() if not has(service["image"])]
    if unknown:
        print(f"Error response from daemon: pull access denied for {unknown[0]}, repository does not exist")
        return 1
    receiver, sender = os.pipe()
    if not os.fork():
        os.setsid()
        if not os.fork():
            os.write(sender, f"{os.getpid()}\n".encode())
            os.write(sender, str(watch(services)).encode())
        os._exit(0)
    os.close(sender)
    os.wait()
    with os.fdopen(receiver) as answers:
        daemon = int(answers.readline())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.kill(daemon, signal.SIGTERM))
        return int(answers.read())


def watch(services: dict[str, Any]) -> int:
    """Run containers until the first of them ends, or SIGTERM."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    folder = tempfile.TemporaryDirectory(prefix="network-")
    network = Network(Path(folder.name), list(services))
    containers = [Container(name, service, network) for name, service in services.items()]
    codes: list[int] = []
    while not codes and not stopped.is_set():
        time.sleep(0.02)
        codes = [code for container in containers if (code := container.process.poll()) is not None]
    print("Gracefully stopping..." if stopped.is_set() else "Aborting on container exit...", flush=True)
    for container in containers:
        container.stop()
    folder.cleanup()
    return INTERRUPTED if stopped.is_set() else codes[0]


class Network:
    """The names of several containers, and where they find each other's addresses: 127.<two numbers>.2 and on."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._file = folder / "hosts" if len(names) > 1 else None
        if self._file:
            high, low = divmod(os.getpid() % (1 << 15), 256)
            lines = [f"127.{64 + high}.{low}.{number + 2} {name}" for number, name in enumerate(names)]
            self._file.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))

    def inside(self, command: list[str]) -> list[str]:
        """The command, which sees the names: in a mount namespace of its own."""
        if self._file is None:
            return command
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self._file), *command]


class Container:
    """A running process with the volumes, variables, command, terminal and port of a compose service."""

    def __init__(self, name: str, service: dict[str, Any], network: Network) -> None:
        self._base = Path(tempfile.mkdtemp(prefix="container-"))
        self._name = output("buildah", "from", service["image"]) if BUILDAH else None
        if not BUILDAH:
            mount(self._base, service.get("volumes", ()))
        terminal, inside = pty.openpty() if service.get("tty") else os.pipe()
        self.process = subprocess.Popen(
            in_chroot(self._name, service) if self._name else network.inside(command(service)),
            env=dict(os.environ) if self._name else environment(service, self._base),
            cwd=self._base,
            start_new_session=True,
            stdin=inside if service.get("tty") else subprocess.DEVNULL,
            stdout=inside,
            stderr=inside,
        )
        os.close(inside)
        self._printer = threading.Thread(target=self._print, args=(terminal, service.get("container_name", name)))
        self._printer.start()

    def _print(self, output: int, name: str) -> None:
        """Pass the output on, each line after the container's name; a terminal ends lines with CR LF."""
        try:
            with open(output, "rb") as lines:
                for line in lines:
                    sys.stdout.buffer.write(f"{name}  | ".encode() + line)
                    sys.stdout.buffer.flush()
        except OSError:  # how Linux says that nobody has the other end of a terminal any more
            return

    def stop(self) -> None:
        """``docker stop``: SIGTERM, and SIGKILL if that does not help."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self._printer.join()
        shutil.rmtree(self._base)
        if self._name:
            output("buildah", "rm", self._name)


def command(service: dict[str, Any]) -> list[str]:
    """What Docker runs: the compose file's entry point and command, else the image's own command."""
    given = [*words(service.get("entrypoint")), *words(service.get("command"))] or [DEFAULT_COMMAND]
    own = Path(os.environ["STAND_IN_COMMANDS"]) / given[0]
    return [str(own) if own.exists() else given[0], *given[1:]]


def in_chroot(name: str, service: dict[str, Any]) -> list[str]:
    """The command that runs a service in the buildah container ``name``."""
    volumes = sorted(service.get("volumes", ()), key=lambda text: text.split(":")[1])
    for volume in volumes:
        Path(volume.split(":")[0]).mkdir(parents=True, exist_ok=True)
    default = json.loads(output("buildah", "inspect", name))["OCIv1"]["config"]["Cmd"]
    return [
        *("buildah", "run", "--isolation=chroot"),
        *(f"--volume={volume}" for volume in volumes),
        *(f"--env={variable}={value}" for variable, value in given(service).items()),
        *(name, "--", *([*words(service.get("entrypoint")), *words(service.get("command"))] or default)),
    ]


def output(*arguments: str) -> str:
    """What a command prints, without the last newline."""
    return subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def words(value: str | list[str] | None) -> list[str]:
    """A command of a compose file: text or a list."""
    return value.split() if isinstance(value, str) else list(value or ())


def environment(service: dict[str, Any], base: Path) -> dict[str, str]:
    """The variables of the image and of the compose file; nothing of this process's own."""
    image = {"ALGORITHM": algorithm(service["image"]), "PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
    return {**image, **given(service), "SAGEMAKER_BASE_DIR": str(base)}


def given(service: dict[str, Any]) -> dict[str, str]:
    """The variables of the compose file. There is no network of the container's own: it listens outside at once."""
    variables = dict(text.split("=", 1) for text in service.get("environment", ()))
    if ports := service.get("ports"):
        variables["SAGEMAKER_BIND_TO_PORT"] = ports[0].partition(":")[0]
    return variables


def mount(base: Path, volumes: Sequence[str]) -> None:
    """Link each volume to its place; a volume within another takes the place of the empty folder that is there."""
    for volume in sorted(volumes, key=lambda text: text.split(":")[1]):
        outside, inside = volume.split(":")[:2]
        folder, place = Path(outside), base / PurePosixPath(inside).relative_to(ROOT)
        folder.mkdir(parents=True, exist_ok=True)
        if place.exists() and place.resolve() == folder.resolve():
            continue
        if place.is_dir():
            place.rmdir()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
