"""The whole app, served as a user would serve it and driven in headless Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import TinyFolders
from tests.tiny import build_adapter, build_base

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    chromium = shutil.which("chromium")
    for item in items:
        if "tests/browser/" in str(item.path):
            item.add_marker(pytest.mark.browser)
            if not chromium:
                item.add_marker(pytest.mark.skip(reason="Chromium is not installed (Debian: apt-get install chromium)"))


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., str]]:
    """Starts a server with the given arguments and environment; returns its address."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **environment: str) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--", *arguments]
        running.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}))
        address = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                return address
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("The server did not start.")

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def demo_app(serve: Callable[..., str]) -> str:
    """The app on the real demo pair."""
    return serve()


@pytest.fixture(scope="session")
def tiny_app(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The app on a tiny pair, where answers take a second."""
    root = tmp_path_factory.mktemp("served")
    folders = TinyFolders(build_base(root / "base", "llama"), build_adapter(root / "base", root / "tuned"))
    return serve("--base", str(folders.base), "--tuned", str(folders.tuned))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """What a page did that it should not do."""

    def __init__(self, page: Page, address: str) -> None:
        self.errors: list[str] = []
        self.foreign: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("request", lambda r: None if self._ours(r.url, address) else self.foreign.append(r.url))

    @staticmethod
    def _ours(url: str, address: str) -> bool:
        return url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in a browser of its own; at the end no error was logged and no other host was called."""
    opened: list[tuple[Page, Watched]] = []

    def go(address: str, theme: str = "light", width: int = 1280, lossy: bool = False) -> Page:
        page = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=theme).new_page()  # type: ignore[arg-type]
        if not lossy:  # a connection that is cut on purpose is an error in the browser's eyes
            opened.append((page, Watched(page, address.split("/?")[0])))
        page.goto(address)
        page.get_by_role("button", name="Run", exact=True).wait_for(timeout=60_000)
        page.wait_for_timeout(500)
        return page

    yield go
    for page, watched in opened:
        page.context.close()
        assert watched.errors == []
        assert watched.foreign == []
