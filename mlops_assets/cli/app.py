"""Which commands there are, and how a failure ends: one line with its code, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import typer

from mlops_assets.cli import (
    alerts,
    approvals,
    audit,
    check,
    deployments,
    docs,
    doctor,
    features,
    identity,
    listings,
    mirrors,
    model_versions,
    models,
    new,
    predict,
    prompts,
    retraining,
    up,
)
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.settings import keep_private, wants_tracebacks

INTERRUPTED = 130
_LONGEST_MESSAGE = 400
_REMEDY = "`mlops doctor` says what is damaged; run the command with MLOPS_DEBUG=1 to see where it failed."

app = typer.Typer(
    name="mlops",
    help="Features, models, evaluations and prompts as Dagster assets, with their audit trail.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up", help=up.up.__doc__)(up.up)
app.command("check", help=check.check.__doc__, context_settings=check.TAKES_OTHER_ARGUMENTS)(check.check)
app.command("doctor")(doctor.doctor)
app.command("docs")(docs.docs)
app.command("kpis")(listings.kpis)
app.command("predict")(predict.predict)
app.command("reproduce")(model_versions.reproduce)
app.command("whoami")(identity.whoami)
app.command("access")(identity.access)
app.add_typer(features.commands, name="features")
app.add_typer(audit.commands, name="audit")
app.add_typer(approvals.commands, name="approvals")
app.add_typer(alerts.commands, name="alerts")
app.add_typer(prompts.commands, name="prompts")
app.add_typer(deployments.commands, name="deployments")
app.add_typer(mirrors.commands, name="mirrors")
models.commands.command("cadence")(retraining.cadence)
models.commands.command("retrain")(retraining.retrain)
app.add_typer(models.commands, name="models")
app.add_typer(new.commands, name="new")
for name, commands in [*listings.GROUPS.items(), *identity.GROUPS.items()]:
    app.add_typer(commands, name=name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 yes, 1 no or failed, 2 not understood."""
    keep_private()
    try:
        result = app(
            args=list(sys.argv[1:] if arguments is None else arguments), prog_name="mlops", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PlatformError as error:
        print(f"error [{error.code}]: {error}", file=sys.stderr)  # noqa: T201 - the one line a failure gets
        return 1
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:  # `mlops audit log | head`
        sys.stderr.close()
        return 1
    except Exception as error:
        if wants_tracebacks():
            raise
        print(f"error [internal_error]: {_in_one_line(error)} {_REMEDY}", file=sys.stderr)  # noqa: T201
        return 1
    return result if isinstance(result, int) else 0


def _in_one_line(error: Exception) -> str:
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{words.rstrip('.')}." if len(words) <= _LONGEST_MESSAGE else f"{words[:_LONGEST_MESSAGE]} ..."
