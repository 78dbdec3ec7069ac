"""A real browser without a window, asked through the pipe of its DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/; messages are JSON, each with a zero byte at its end.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 60
_ABOVE = 10
_PLACED = "import os, sys; [os.dup2(int(sys.argv[1 + n]), 3 + n) for n in (0, 1)]; os.execv(sys.argv[3], sys.argv[3:])"
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    "--remote-debugging-pipe",
)


def found() -> str | None:
    """The browser's program, where there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a browser that runs as long as the block.

    Attributes:
        errors: what the page complained of since it was opened: exceptions, errors of the console, failed requests.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.errors: list[str] = []
        self._number = 0
        self._session: str | None = None
        self._unread = b""
        self._events: set[str] = set()
        reads, self._output = os.pipe()
        self._input, writes = os.pipe()
        # The browser expects them to be descriptors 3 and 4, which may be others' here.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, _ABOVE) for end in (reads, writes)]
        self._process = subprocess.Popen(
            [*(sys.executable, "-c", _PLACED, *map(str, ends)), program, *_OPTIONS, f"--user-data-dir={folder}"],
            pass_fds=ends,
            stderr=subprocess.DEVNULL,
        )
        for end in (reads, writes, *ends):
            os.close(end)

    def __enter__(self) -> Browser:
        try:
            self._attach()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _attach(self) -> None:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(_SECONDS)
        os.close(self._output)
        os.close(self._input)

    def open(self, url: str, *, width: int, scheme: str) -> None:
        """Open a page, in a window of ``width`` pixels, with ``light`` or ``dark`` colours."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.errors.clear()
        self._events.discard("Page.loadEventFired")
        self._call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._events:
            self._take(self._read())

    def run(self, script: str) -> Any:
        """The value of an expression, once it has one."""
        answer = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key, by its name: ``Tab``, or a blank."""
        code, text = (9, "") if key == "Tab" else (ord(key), key)
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, text=text, windowsVirtualKeyCode=code)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._output, data) :]
        while (answer := self._read()).get("id") != self._number:
            self._take(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            part = os.read(self._input, 1 << 16)
            assert part, "the browser has ended"
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def _take(self, event: dict[str, Any]) -> None:
        method, told = event.get("method", ""), event.get("params", {})
        self._events.add(method)
        if method == "Runtime.exceptionThrown":
            self.errors.append(told["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.errors.append(json.dumps(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(told["entry"]["text"])
