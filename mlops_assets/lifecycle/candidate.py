"""What training yields: the fitted model, its skill on rows it never saw, and the proof that its folds lie apart."""

# pyarrow, LightGBM and scikit-learn carry no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.predict import probabilities
from mlops_assets.lifecycle.skill import Reliability, Skill, judge, reliability
from mlops_assets.lifecycle.spec import ModelSpec, fields_of
from mlops_assets.lifecycle.train import FOLDS, Fit, Gap, fit, fold_gaps, fold_rows

if TYPE_CHECKING:
    import pyarrow as pa

RULE_MODULES = (
    "mlops_assets.lifecycle.train",
    "mlops_assets.lifecycle.predict",
    "mlops_assets.lifecycle.skill",
    "mlops_assets.lifecycle.candidate",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that was trained and judged, and is not registered yet."""

    fit: Fit
    skill: Skill
    gaps: Sequence[Gap]
    fold_rows: Mapping[str, int]
    reliability: Sequence[Reliability]

    @property
    def folds_lie_apart(self) -> bool:
        return all(gap.is_disjoint for gap in self.gaps)

    def metrics(self) -> dict[str, float]:
        """Return the figures for lists and charts, flat: `test/auc`, `test/base_rate/log_loss`, `valid/auc`."""
        named = {"test": self.skill.model, "valid": self.skill.valid}
        named |= {f"test/{name}": scores for name, scores in self.skill.test.items() if name != "model"}
        return {
            f"{where}/{name}": float(value)
            for where, scores in named.items()
            for name, value in asdict(scores).items()
            if value is not None
        }

    def metadata(self, spec: ModelSpec, *, training_set_fingerprint: str, code_version: str) -> dict[str, Json]:
        """Return what the registry's template for classifiers asks for."""
        return {
            "kind": spec.kind,
            "declaration_version": spec.version,
            "declaration_fingerprint": spec.fingerprint,
            "owner": spec.owner,
            "description": spec.description,
            "tier": spec.tier,
            "training_set": spec.training_set.dataset,
            "training_set_fingerprint": training_set_fingerprint,
            "features": list(spec.features),
            "parameters": self.fit.parameters,
            "seed": spec.seed,
            "library": self.fit.library,
            "code_version": code_version,
            "horizon_sessions": spec.training_set.label.horizon_sessions,
            "threshold": spec.training_set.label.threshold,
            "rounds": self.fit.rounds,
            "fold_rows": dict(self.fold_rows),
            "fold_gaps": [asdict(gap) for gap in self.gaps],
            "buckets": fields_of(spec.buckets),
            "skill": self.skill.as_json(),
        }


def train_candidate(table: pa.Table, spec: ModelSpec) -> Candidate:
    """Fit the declared model to its training set and judge it on the test fold.

    Raises:
        EmptyFold: if a fold has no complete rows.
    """
    fitted = fit(table, spec)
    rows = {fold: fold_rows(table, spec.features, fold) for fold in FOLDS}
    said = {fold: probabilities(fitted.text, rows[fold], spec.features) for fold in (Fold.VALID, Fold.TEST)}
    return Candidate(
        fit=fitted,
        skill=judge(
            train=rows[Fold.TRAIN],
            valid=rows[Fold.VALID],
            test=rows[Fold.TEST],
            valid_probability=said[Fold.VALID],
            test_probability=said[Fold.TEST],
            momentum=spec.baseline.momentum,
            seed=spec.seed,
        ),
        gaps=fold_gaps(table),
        fold_rows={fold.value: rows[fold].height for fold in FOLDS},
        reliability=reliability(rows[Fold.TEST].get_column("label").to_numpy(), said[Fold.TEST]),
    )
