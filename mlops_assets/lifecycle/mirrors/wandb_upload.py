"""Write one run with its artifact by W&B's own client: a process of its own, so that it can be ended in the middle.

It reads a request as JSON from its standard input and says in one line on standard error why it failed. What it is
told is `wandb_mirror.py`'s business; nothing of this process is reported but that.
"""

from __future__ import annotations

import json
import sys
from typing import Any

TAKEN, FAILED = 0, 3


def main() -> int:
    """Write the run and return `TAKEN`, or `FAILED`."""
    from wandb.errors import Error

    request: dict[str, Any] = json.load(sys.stdin)
    try:
        _write(request)
    except Error as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        sys.stderr.write(f"\n{words}\n")
        return FAILED
    return TAKEN


def _write(request: dict[str, Any]) -> None:
    import wandb

    is_online, seconds = request["mode"] == "online", request["seconds"]
    settings = wandb.Settings(
        mode=request["mode"],
        root_dir=request["folder"],
        init_timeout=seconds,
        x_graphql_retry_max=2,
        x_graphql_timeout_seconds=seconds,
        host="mlops_assets",  # otherwise this machine's name
        silent=True,
        console="off",
        save_code=False,
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    run = wandb.init(
        project=request["project"],
        id=request["id"],
        name=request["name"],
        group=request["group"],
        tags=request["tags"],
        job_type="model_version",
        resume="allow",
        config=request["config"],
        settings=settings,
    )
    run.summary.update(request["summary"])
    artifact = wandb.Artifact(request["group"], type="model", metadata=request["artifact"]["metadata"])
    # Blobs never change, so W&B needs no copy of this one while it waits to be synchronised.
    artifact.add_file(
        request["artifact"]["path"], name=request["artifact"]["name"], policy="immutable", skip_cache=True
    )
    logged = run.log_artifact(artifact, aliases=["latest", request["artifact"]["alias"]])
    if is_online:
        logged.wait(timeout=seconds)
    run.finish()


if __name__ == "__main__":
    sys.exit(main())
