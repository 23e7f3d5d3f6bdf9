"""What training yields: the fitted model, its skill on rows it never saw, and the proof that its folds lie apart."""

# pyarrow carries no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.kinds.kind import Fitted
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.folds import FOLDS, Gap, fold_gaps, fold_rows
from mlops_assets.lifecycle.training.skill import Skill, gain_over
from mlops_assets.lifecycle.training.walk_forward import Period, walk_forward

if TYPE_CHECKING:
    import pyarrow as pa

Progress = Callable[[str], None]
"""Is told what begins."""

_SHARED_RULES = (
    "mlops_assets.lifecycle.training.candidate",
    "mlops_assets.lifecycle.training.folds",
    "mlops_assets.lifecycle.training.skill",
    "mlops_assets.lifecycle.training.walk_forward",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A model that was trained and judged, and is not registered yet. `test` and `said` are for pictures."""

    spec: ModelSpec
    fitted: Fitted
    skill: Skill
    gaps: Sequence[Gap]
    fold_rows: Mapping[str, int]
    periods: Sequence[Period]
    test: pl.DataFrame
    said: pl.DataFrame

    @property
    def folds_lie_apart(self) -> bool:
        """Tell whether every label of a fold, and of a period's fit, was known before the next rows begin."""
        return all(gap.is_disjoint for gap in self._all_gaps)

    @property
    def fewest_sessions_apart(self) -> int:
        return min(gap.sessions for gap in self._all_gaps)

    @property
    def _all_gaps(self) -> list[Gap]:
        return [*self.gaps, *(gap for period in self.periods for gap in period.gaps)]

    def metrics(self) -> dict[str, float]:
        """Return the figures for lists and charts, flat: `test/auc`, `test/base_rate/log_loss`, `valid/auc`."""
        named = {"test": self.skill.test["model"], "valid": self.skill.valid}
        named |= {f"test/{name}": scores for name, scores in self.skill.test.items() if name != "model"}
        return {
            f"{where}/{name}": float(value)
            for where, scores in named.items()
            for name, value in scores.items()
            if value is not None
        }

    def metadata(self) -> dict[str, Json]:
        """Return what the template of the model's kind asks for and training can say."""
        spec = self.spec
        return {
            "kind": spec.kind,
            "declaration_version": spec.version,
            "declaration_fingerprint": spec.fingerprint,
            "declaration": spec.declaration,
            "owner": spec.owner,
            "tier": spec.tier,
            "description": spec.description,
            "purpose": spec.purpose,
            "scope": spec.scope,
            "assumptions": list(spec.assumptions),
            "limitations": list(spec.limitations),
            "training_set": spec.training_set.dataset,
            "features": list(spec.features),
            "horizon_sessions": spec.training_set.label.horizon_sessions,
            "parameters": dict(self.fitted.parameters),
            "seed": spec.seed,
            "library": self.fitted.library,
            "artifact_format": self.fitted.format.value,
            "fold_rows": dict(self.fold_rows),
            "fold_gaps": [asdict(gap) for gap in self.gaps],
            "skill": self.skill.as_json(),
            "walk_forward": [period.as_json() for period in self.periods],
            **self.fitted.facts,
        }


def rule_modules(spec: ModelSpec) -> tuple[str, ...]:
    """Name the modules whose source decides what training yields."""
    return (*_SHARED_RULES, *kind_of(spec.kind).rule_modules)


def train_candidate(table: pa.Table, spec: ModelSpec, *, progress: Progress = lambda _what: None) -> Candidate:
    """Fit the declared model to its training set and judge it on the test fold and period by period.

    Raises:
        EmptyFold: if a fold or a period has no complete rows.
    """
    kind = kind_of(spec.kind)
    rows = {fold: fold_rows(table, spec.features, fold) for fold in FOLDS}
    progress(f"fitting {spec.name} to {rows[Fold.TRAIN].height} rows")
    fitted = kind.fit(rows[Fold.TRAIN], rows[Fold.VALID], spec)
    valid, test = (kind.predict(rows[fold], fitted.content, spec) for fold in (Fold.VALID, Fold.TEST))
    progress(f"trying it on {spec.walk_forward.windows} earlier periods")
    return Candidate(
        spec=spec,
        fitted=fitted,
        skill=_judge(rows, valid, test, spec),
        gaps=fold_gaps(table),
        fold_rows={fold.value: rows[fold].height for fold in FOLDS},
        periods=walk_forward(table, spec),
        test=rows[Fold.TEST],
        said=test,
    )


def _judge(rows: Mapping[Fold, pl.DataFrame], valid: pl.DataFrame, test: pl.DataFrame, spec: ModelSpec) -> Skill:
    kind, judged = kind_of(spec.kind), rows[Fold.TEST]
    naive = kind.naive(rows[Fold.TRAIN], judged, spec)
    losses = kind.losses(judged, test, spec)
    return Skill(
        loss=kind.loss_name,
        test={name: kind.scores(judged, said, spec) for name, said in {"model": test, **naive}.items()},
        valid=kind.scores(rows[Fold.VALID], valid, spec),
        gains=[
            gain_over(name, judged["date"], losses, kind.losses(judged, said, spec), seed=spec.seed)
            for name, said in naive.items()
        ],
    )
