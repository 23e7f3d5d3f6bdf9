"""How a clone becomes a running platform: makes the project's own environment once, then hands over to the CLI there.

Standard library only, and in the syntax of older Pythons too, because this file runs before anything is installed and
has to say so where the interpreter is too old. Everything else belongs in `mlops_assets.cli`.

The environment is `.venv` beside pyproject.toml, filled from the hash-locked requirements. A stamp in it holds the
SHA-256 of the requirements and of pyproject.toml and the Python version; while they agree nothing is done.
`MLOPS_ENVIRONMENT=current` uses the running interpreter as it is, for an image that has everything installed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

SOURCE_TREE = Path(__file__).resolve().parent.parent
ENVIRONMENT = SOURCE_TREE / ".venv"
STAMP = ENVIRONMENT / "mlops-stamp.json"
MADE_BY = ENVIRONMENT / "mlops-made-by.txt"
LOG = ENVIRONMENT / "install.log"
USE_LOCK, DEVELOPMENT_LOCK = "requirements.txt", "requirements-dev.txt"
COMMANDS_FOR_DEVELOPMENT = {"check"}
OLDEST, TOO_NEW = (3, 11), (3, 15)

WORDS = {
    "en": {
        "wrong_python": (
            "mlops_assets needs Python 3.11 to 3.14, and this is {found} ({executable}). "
            "Install one of them and run the same command with it, for example: python3.12 -m mlops_assets {arguments}"
        ),
        "no_pip": (
            "{executable} has no pip, which installs what the platform needs. Add it with one of:\n"
            "  {executable} -m ensurepip --upgrade\n"
            "  sudo apt-get install python3-pip      (Debian, Ubuntu)\n"
            "and run the same command again."
        ),
        "preparing": "Preparing {environment} with Python {version}; the first time this takes a few minutes.",
        "installing": "installing {count} packages",
        "failed": (
            "The installation did not finish; the whole log is in {log}. Its last lines:\n\n{tail}\n\n"
            "What is installed already is kept. Run the same command again to resume."
        ),
        "ready": "The environment is ready ({seconds:.0f} s).",
    },
    "ko": {
        "wrong_python": (
            "mlops_assets에는 Python 3.11~3.14가 필요하지만 지금은 {found}입니다 ({executable}). "
            "알맞은 버전을 설치한 뒤 같은 명령을 다시 실행하세요. 예: python3.12 -m mlops_assets {arguments}"
        ),
        "no_pip": (
            "{executable}에 pip이 없습니다. 필요한 패키지를 설치하려면 다음 중 하나로 pip을 추가하세요:\n"
            "  {executable} -m ensurepip --upgrade\n"
            "  sudo apt-get install python3-pip      (Debian, Ubuntu)\n"
            "그런 다음 같은 명령을 다시 실행하세요."
        ),
        "preparing": "Python {version}(으)로 {environment}을(를) 준비합니다. 처음에는 몇 분 걸립니다.",
        "installing": "패키지 {count}개를 설치하는 중",
        "failed": (
            "설치가 끝나지 않았습니다. 전체 기록은 {log}에 있습니다. 마지막 줄:\n\n{tail}\n\n"
            "이미 설치된 것은 그대로 두었습니다. 같은 명령을 다시 실행하면 이어서 설치합니다."
        ),
        "ready": "환경이 준비되었습니다 ({seconds:.0f}초).",
    },
}


class CannotPrepare(Exception):
    """The environment can't be made; the message says what to do."""


def say(key: str, **values: object) -> str:
    """Return a sentence in the language of `MLOPS_LOCALE` or of the POSIX locale."""
    names = ("MLOPS_LOCALE", "LC_ALL", "LC_MESSAGES", "LANG")
    asked = next((os.environ[name] for name in names if os.environ.get(name)), "")
    return WORDS["ko" if asked.lower().startswith("ko") else "en"][key].format(**values)


def main() -> int:
    """Run the command in the project's environment, which is made first when it has to be."""
    arguments = sys.argv[1:]
    if runs_in_place():
        from mlops_assets.cli.app import main as run

        return run(arguments)
    try:
        check_interpreter(arguments)
        lock = DEVELOPMENT_LOCK if arguments and arguments[0] in COMMANDS_FOR_DEVELOPMENT else USE_LOCK
        if not is_prepared(lock):
            prepare(lock)
    except CannotPrepare as problem:
        print(problem, file=sys.stderr)
        return 1
    return hand_over(arguments)


def runs_in_place() -> bool:
    """Tell whether the running interpreter is the right one: told so, or installed as a package without a clone."""
    return os.environ.get("MLOPS_ENVIRONMENT") == "current" or not (SOURCE_TREE / "pyproject.toml").is_file()


def check_interpreter(arguments: "list[str]") -> None:
    """Refuse a Python that is too old or too new, with the remedy."""
    if not OLDEST <= sys.version_info[:2] < TOO_NEW:
        found = "{}.{}".format(*sys.version_info[:2])
        asked = " ".join(arguments)
        raise CannotPrepare(say("wrong_python", found=found, executable=sys.executable, arguments=asked))


def python_of_environment() -> Path:
    return ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def python_version() -> str:
    return "{}.{}".format(*sys.version_info[:2])


def is_prepared(lock: str) -> bool:
    """Tell whether the stamp says that exactly this lock is installed. Any Python of the range may ask."""
    stamp = read_stamp()
    wanted = {name: sha256_of(name) for name in (lock, "pyproject.toml")}
    wanted["environment"] = str(ENVIRONMENT)
    return all(stamp.get(name) == value for name, value in wanted.items()) and python_of_environment().exists()


def read_stamp() -> "dict[str, str]":
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def sha256_of(name: str) -> str:
    return hashlib.sha256((SOURCE_TREE / name).read_bytes()).hexdigest()


def prepare(lock: str) -> None:
    """Make the environment, install the lock and the project itself, and leave the stamp last."""
    started = time.monotonic()
    print(say("preparing", environment=ENVIRONMENT, version=python_version()), flush=True)
    installer = interpreter_with_pip()
    if not is_usable_environment():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    STAMP.unlink() if STAMP.exists() else None
    if not python_of_environment().exists():
        subprocess.run([installer, "-m", "venv", "--without-pip", str(ENVIRONMENT)], check=True)
        MADE_BY.write_text(maker(), encoding="utf-8")

    with LOG.open("w", encoding="utf-8") as log:
        # The lock is complete, so pip need not resolve: --no-deps saves it a minute of looking.
        pip(installer, ["--require-hashes", "--no-deps", "-r", lock], log, expected=count_of_packages(lock))
        pip(installer, ["--no-deps", "--no-build-isolation", "--editable", "."], log, expected=0)

    # The development lock names the same versions and more: whoever has it, has the other one.
    installed = [lock] if lock == USE_LOCK else [USE_LOCK, DEVELOPMENT_LOCK]
    stamp = {name: sha256_of(name) for name in [*installed, "pyproject.toml"]}
    stamp.update(python=python_version(), environment=str(ENVIRONMENT))
    STAMP.write_text(json.dumps(stamp, indent=2), encoding="utf-8")
    print(say("ready", seconds=time.monotonic() - started), flush=True)


def interpreter_with_pip() -> str:
    """Return the interpreter that installs: this one, or the one behind it where this is an environment without pip."""
    is_to_be_made = Path(sys.prefix).resolve() == ENVIRONMENT.resolve()  # then it is no place to install from
    behind = getattr(sys, "_base_executable", sys.executable)
    for executable in [behind] if is_to_be_made else [sys.executable, behind]:
        answer = subprocess.run([executable, "-m", "pip", "--version"], check=False, capture_output=True)
        if answer.returncode == 0:
            return executable
    raise CannotPrepare(say("no_pip", executable=sys.executable))


def maker() -> str:
    """Name what an environment depends on: the version of Python, and its own place, which is in its scripts."""
    return f"Python {python_version()} in {ENVIRONMENT}"


def is_usable_environment() -> bool:
    """Tell whether the environment, finished or not, was made by this version of Python in this place and starts."""
    try:
        made_by = MADE_BY.read_text(encoding="utf-8")
        subprocess.run([str(python_of_environment()), "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return made_by == maker()


def count_of_packages(lock: str) -> int:
    """Count the pinned packages of a lock; those of another platform are among them."""
    lines = (SOURCE_TREE / lock).read_text(encoding="utf-8").splitlines()
    return sum(1 for line in lines if "==" in line and not line.startswith((" ", "#")))


def pip(installer: str, arguments: "list[str]", log: TextIO, *, expected: int) -> None:
    """Run pip for the environment, show what it is at, and keep all it says in the log."""
    command = [installer, "-m", "pip", "--python", str(python_of_environment()), "install", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--no-user", *arguments]
    progress = Progress(expected)
    process = subprocess.Popen(
        command, cwd=str(SOURCE_TREE), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    lines = []
    for line in process.stdout or ():
        log.write(line)
        lines.append(line)
        progress.see(line)
    log.flush()
    progress.end()
    if process.wait() != 0:
        raise CannotPrepare(say("failed", log=LOG, tail="".join(lines[-15:]).rstrip()))


class Progress:
    """Shows how far pip is: one line that changes on a terminal, a line every 40 packages elsewhere."""

    def __init__(self, expected: int) -> None:
        self.expected, self.seen = expected, 0
        self.is_terminal = sys.stdout.isatty()

    def see(self, line: str) -> None:
        words = line.split()
        if not words or not self.expected:
            return
        if words[0] in ("Collecting", "Processing", "Requirement", "Ignoring"):
            self.seen += 1
            if self.is_terminal:
                self.show(f"[{self.seen}/{self.expected}] {words[-1] if words[0] == 'Processing' else words[1]}")
            elif self.seen % 40 == 0:
                self.show(f"[{self.seen}/{self.expected}]")
        elif line.startswith("Installing collected packages"):
            self.show(say("installing", count=line.count(",") + 1))

    def show(self, text: str) -> None:
        if self.is_terminal:
            sys.stdout.write("\r\033[K  " + text)
        else:
            sys.stdout.write("  " + text + "\n")
        sys.stdout.flush()

    def end(self) -> None:
        if self.is_terminal and self.expected:
            sys.stdout.write("\r\033[K")
            sys.stdout.flush()


def hand_over(arguments: "list[str]") -> int:
    """Continue in the environment: replaces this process where the system can, so that signals arrive."""
    command = [str(python_of_environment()), "-m", "mlops_assets.cli", *arguments]
    if os.name == "nt":
        return subprocess.run(command, check=False).returncode
    os.execv(command[0], command)
    raise AssertionError("execv does not return")


if __name__ == "__main__":
    sys.exit(main())
