"""Engines that run `train` and `serve`: as processes of this machine, or in containers by docker or buildah."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from container.settings import ConfigurationError
from local.batch.client import LOOPBACK
from local.sagemaker import images
from local.sagemaker.errors import JobError, invalid
from local.sagemaker.processes import Processes
from recordio.quoting import quoted

_ROOT = Path(__file__).resolve().parents[2]
INSIDE = Path("/opt/ml")
"""The container's path of the job's folder; logs and failure reasons use it with every engine."""
_PORT = 8080
_OURS = "open-algorithms/"
"""Before the name of an algorithm in the images that `make image` builds."""
_NAME = re.compile(r"[a-zA-Z0-9\[][a-zA-Z0-9._:@/\[\]-]*")
"""The characters of an image's name: what begins with - would be an option of docker."""
_TRANSPORT = re.compile(
    "(containers-storage|dir|docker|docker-archive|docker-daemon|oci|oci-archive|ostree|sif|tarball|atomic):"
)
"""Before a place for buildah, which may be a file or folder of this machine (containers-transports(5))."""


@dataclass(frozen=True)
class Run:
    """A command to run.

    Attributes:
        image: its URI, as the request has it.
        command: ``train`` or ``serve``.
        base: the folder that is /opt/ml to it.
        near: a folder above it, to which its links lead.
        variables: its environment, besides where /opt/ml is and what port it listens on.
        port: where it is to be reached on loopback; None where it does not serve.
        meets: whether it finds other hosts by their addresses.
    """

    image: str
    command: str
    base: Path
    near: Path
    variables: Mapping[str, str]
    port: int | None = None
    meets: bool = False


class Engine(Protocol):
    """Runs commands of images."""

    def check(self, image: str) -> None:
        """Refuse an image that cannot be run. Raises AwsError."""
        ...

    def inside(self, run: Path, base: Path) -> Path:
        """The path by which the container knows ``run``, which is below ``base``."""
        ...

    def start(self, run: Run) -> subprocess.Popen[str]:
        """A process whose output is a pipe of text, and whose end is the container's. Raises JobError."""
        ...

    def ask_to_end(self, process: subprocess.Popen[str]) -> None:
        """Send SIGTERM to what runs, as SageMaker does."""
        ...

    def why_not(self, code: int, log: str) -> str | None:
        """Why the engine could not run a container, from its output; None if it was the container that failed."""
        ...


def of(name: str, processes: Processes) -> Engine:
    """The engine of a name.

    Raises:
        ConfigurationError: its program is not here, or does not answer.
    """
    if name == "process":
        return ProcessEngine(processes)
    if shutil.which(name) is None:
        raise ConfigurationError(f"--engine {name}: there is no program {name} on PATH")
    if name == "docker":
        told = subprocess.run(["docker", "info"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if told.returncode:
            raise ConfigurationError(f"--engine docker: {(told.stderr or told.stdout).strip().splitlines()[-1]}")
        return DockerEngine(processes)
    return BuildahEngine(processes)


class ProcessEngine:
    """Runs the code of this installation, whatever version the image's tag names."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def check(self, image: str) -> None:
        """Refuse what is none of the algorithms."""
        if images.algorithm(image) is None:
            raise invalid(
                f"The image {image} is none that oba up can run: its repository's name is "
                f"'{images.repository(image)}', and there are {images.known()}; --engine docker runs other images, too"
            )

    def inside(self, run: Path, base: Path) -> Path:
        """The path itself."""
        return run

    def start(self, run: Run) -> subprocess.Popen[str]:
        """A process with the server's environment, without what is SageMaker's and AWS's."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SAGEMAKER_", "AWS_"))}
        own = {"SAGEMAKER_BASE_DIR": str(run.base), "ALGORITHM": images.algorithm(run.image) or ""}
        if run.port:
            own |= {"SAGEMAKER_BIND_TO_PORT": str(run.port), "OBA_BIND_ADDRESS": LOOPBACK}
        command = [sys.executable, "-m", "container", run.command]
        return self._processes.start(command, {**inherited, **run.variables, **own}, _ROOT)

    def ask_to_end(self, process: subprocess.Popen[str]) -> None:
        """To the process."""
        process.terminate()

    def why_not(self, code: int, log: str) -> str | None:
        """There is no container."""
        return None


class _Containers:
    """What docker and buildah share: this project's images by the algorithm's name, other images by their own."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def check(self, image: str) -> None:
        """Any image may be there when it is needed; refuse what is no name of one."""
        if not _NAME.fullmatch(image):
            raise invalid(f"The image {quoted(image)} cannot be run: expected a name such as registry/repository:tag")

    def inside(self, run: Path, base: Path) -> Path:
        """Below /opt/ml."""
        return INSIDE / run.relative_to(base)

    def _image(self, image: str, there: Sequence[str]) -> str:
        """The name of what is run; ``there`` is a command that fails where the engine has no such image."""
        algorithm = images.algorithm(image)
        if algorithm is None:
            return image
        name = f"{_OURS}{algorithm}"
        if subprocess.run([*there, name], stdin=subprocess.DEVNULL, capture_output=True).returncode:
            raise JobError(f"There is no image {name}, which stands for {image}: make image ALGORITHM={algorithm}")
        return name

    def _mounts(self, run: Run) -> list[str]:
        """The folder as /opt/ml, and where it is, for the links that lead there."""
        return [f"--volume={run.base}:{INSIDE}", f"--volume={run.near}:{run.near}"]


_REMOVE_AND_GIVE_BACK = """
docker rm --force "$0"
exec docker run --rm --user=0:0 --entrypoint=chown "--volume=$1" "$2" -R -h "$3" "$4"
"""
"""Ends a container; then what it wrote as root belongs to the user who has to pack, change and delete it."""


_OF_DOCKER = (125, 126, 127)
"""Exit codes of ``docker run`` where there was no container, or none that has the command (docker-run(1))."""


class DockerEngine(_Containers):
    """A Docker engine on this machine."""

    def start(self, run: Run) -> subprocess.Popen[str]:
        """``docker run``, which ends with the container and passes SIGTERM on to it."""
        image, name = self._image(run.image, ("docker", "image", "inspect")), f"oba-{secrets.token_hex(8)}"
        user = ["--user", f"{os.getuid()}:{os.getgid()}"] if os.getuid() and images.algorithm(run.image) else []
        network = ["--network=host"] if run.meets else []
        if run.port:
            network.append(f"--publish={LOOPBACK}:{run.port}:{_PORT}")
        options = [*user, *network, *self._mounts(run), *(f"--env={key}={text}" for key, text in run.variables.items())]
        command = ["docker", "run", "--rm", "--name", name, *options, image, run.command]
        after: tuple[str, ...] = ("docker", "rm", "--force", name)
        if os.getuid() and not user:
            owner, mount = f"{os.getuid()}:{os.getgid()}", f"{run.base}:{INSIDE}"
            after = ("sh", "-c", _REMOVE_AND_GIVE_BACK, name, mount, image, owner, str(INSIDE))
        return self._processes.start(command, dict(os.environ), _ROOT, after)

    def ask_to_end(self, process: subprocess.Popen[str]) -> None:
        """To the client, which passes it on."""
        process.terminate()

    def why_not(self, code: int, log: str) -> str | None:
        """The client's own error, such as that there is no such image."""
        told = [line for line in log.splitlines() if line.startswith("docker: ")]
        return told[-1] if code in _OF_DOCKER and told else None


_THROUGH_FIFO = """
cat "$0" &
"$@"
code=$?
: <> "$0"
wait
exit $code
"""
"""Runs buildah and prints what comes through a FIFO, to its last byte; opening it once more ends a wait for nobody."""


class BuildahEngine(_Containers):
    """buildah in a chroot: no daemon and no network of its own, so it listens on this machine's loopback itself.

    buildah drops the last lines of a container, with its final metrics, when the container ends; so they come through a
    FIFO, for which the image has to have ``sh``.
    """

    def check(self, image: str) -> None:
        """Refuse what buildah takes for a place instead of a name, too."""
        super().check(image)
        if _TRANSPORT.match(image):
            raise invalid(
                f"The image {quoted(image)} cannot be run: {image.partition(':')[0]}: is a place to buildah; expected "
                "a name such as registry/repository:tag"
            )

    def start(self, run: Run) -> subprocess.Popen[str]:
        """``buildah run`` in a container that is made for it."""
        image = self._image(run.image, ("buildah", "inspect", "--type=image"))
        made = subprocess.run(["buildah", "from", image], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if made.returncode:
            raise JobError(f"buildah cannot start {image}: {' '.join(made.stderr.split())[-500:]}")
        name, fifo = made.stdout.strip(), run.base / f".printed-{secrets.token_hex(4)}"
        os.mkfifo(fifo)
        own = {"SAGEMAKER_BIND_TO_PORT": str(run.port), "OBA_BIND_ADDRESS": LOOPBACK} if run.port else {}
        variables = [f"--env={key}={text}" for key, text in {**run.variables, **own}.items()]
        options = ["--isolation=chroot", *self._mounts(run), *variables]
        inside = ["sh", "-c", 'exec "$1" > "$0" 2>&1', str(fifo), run.command]
        command = ["sh", "-c", _THROUGH_FIFO, str(fifo), "buildah", "run", *options, name, "--", *inside]
        return self._processes.start(command, dict(os.environ), _ROOT, ("buildah", "rm", name))

    def ask_to_end(self, process: subprocess.Popen[str]) -> None:
        """To the container's process: one of buildah's would end without a word to it."""
        with contextlib.suppress(OSError, IndexError):
            os.kill(_contained(process.pid), signal.SIGTERM)

    def why_not(self, code: int, log: str) -> str | None:
        """``start`` has said so already."""
        return None


def _contained(process: int) -> int:
    """The first process below this one that is no longer buildah's.

    Raises:
        OSError, IndexError: there is none, or no more.
    """
    threads = sorted(Path(f"/proc/{process}/task").iterdir())  # each of them knows its own children only
    children = [int(text) for thread in threads for text in (thread / "children").read_text().split()]
    of_buildah = [child for child in children if Path(f"/proc/{child}/cmdline").read_text().startswith("buildah")]
    return _contained(of_buildah[0]) if of_buildah else children[0]
