"""Programs of an example, started by its `story.py`: what they print is shown behind their names."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

console = Console(highlight=False, soft_wrap=True)


def tell(text: str) -> None:
    console.print(f"\n[bold]{text}[/]")


def run(program: Path, *arguments: str, cwd: Path, **env: str) -> None:
    """Run a program to its end, and show its command instead of its output."""
    shown = [f'"{argument}"' if " " in argument else argument for argument in arguments]
    console.print(f"[dim]$ python {program.name} {' '.join(shown)}[/]", markup=True)
    command = [sys.executable, str(program), *arguments]
    subprocess.run(command, cwd=cwd, env=os.environ | env, check=True, stdout=subprocess.DEVNULL)


class Program:
    """One that goes on until it is killed; a context manager.

    Args:
        program: the file.
        color: of its name, in rich's words.
        cwd: where it runs, and keeps its files.
        env: environment variables besides this process's own.
    """

    def __init__(self, program: Path, color: str, *, cwd: Path, **env: str) -> None:
        self._name = Text(f"{program.stem:>10} │ ", style=color)
        self._lines: list[str] = []
        self._heard = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(program)],
            cwd=cwd,
            env=os.environ | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()

    def wait_for(self, text: str) -> None:
        """Until it has printed a line with this text; raises TimeoutError after 30 seconds."""
        with self._heard:
            if not self._heard.wait_for(lambda: any(text in line for line in self._lines), timeout=30):
                raise TimeoutError(f"{self._name.plain.strip(' │')} did not say {text!r}, but: {self._lines}")

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.kill()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                console.print(self._name + Text(line.rstrip()))
                with self._heard:
                    self._lines.append(line)
                    self._heard.notify_all()
