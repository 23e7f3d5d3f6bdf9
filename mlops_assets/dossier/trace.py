"""What a subject rests on and what was made from it: the rows of the stores, followed by fingerprint.

Upwards without end: data, training set, model, predictions, replays, report. Downwards only what is evidence about
the subject itself: a model's predictions, explanations, replays, reports, drift and deployments; a report's
deployments; a prompt's answers and evaluations. What else was made from the same data is no part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from mlops_assets.dossier import stored
from mlops_assets.dossier.approvals import ApprovalRow, approvals_of
from mlops_assets.dossier.subject import Subject, SubjectKind
from mlops_assets.dossier.things import Input, Thing, ThingKind
from mlops_assets.kernel.errors import NotFound
from mlops_assets.storage.sql import tables

_NO_ROWS = ("code/", "scenarios/", "strategies/", "source/")
"""Inputs that are files, code or what came from outside: the stores keep their fingerprint alone."""
_VIEWS = "features/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Something that is named by fingerprint and not in the stores."""

    named_by: str
    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOf:
    """The last ledger entry when the rows were read."""

    seq: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class Traced:
    """Everything that was found. `own` are the things that are the subject itself; `things` are all, by id."""

    subject: Subject
    own: tuple[Thing, ...]
    things: dict[str, Thing]
    approvals: tuple[ApprovalRow, ...]
    gaps: tuple[Gap, ...]
    as_of: AsOf

    def of(self, kind: ThingKind) -> list[Thing]:
        """Return the things of a kind, by id."""
        return sorted((one for one in self.things.values() if one.kind is kind), key=lambda one: one.id)

    @property
    def views(self) -> dict[str, set[str]]:
        """Return the feature views behind it, and the versions that computed its values."""
        found = dict[str, set[str]]()
        for one in self.of(ThingKind.SNAPSHOT):
            if one.row["dataset"].startswith(_VIEWS):
                version = one.row["details"].get("view_version")
                versions = found.setdefault(one.row["dataset"].removeprefix(_VIEWS), set())
                versions |= {str(version)} if version else set()
        return found

    @property
    def ledger_subjects(self) -> frozenset[str]:
        """What ledger entries are about that belong here whatever they say."""
        things = {one.subject for one in self.things.values() if one.subject is not None}
        prompt = {f"prompt_evaluations/{self.subject.name}@{self.subject.version}"}
        people = {f"principals/{name}" for one in self.approvals for name in one.people}
        return frozenset(
            things | people | {self.subject.id} | (prompt if self.subject.kind is SubjectKind.PROMPT else set())
        )

    @property
    def ledger_ids(self) -> frozenset[str]:
        """Ids of what has no subject of its own: an entry that carries one is about that thing."""
        unique = {one.fingerprint for one in self.things.values() if one.unique and one.subject is None}
        return frozenset(unique | {one.id for one in self.approvals})

    @property
    def ledger_seqs(self) -> frozenset[int]:
        """Entries that rows name themselves."""
        return frozenset(one.seq for one in self.things.values() if one.seq is not None)


def known_subjects(connection: sa.Connection) -> list[Subject]:
    """Return everything that a dossier can be about; reports in the order in which they were made the latest."""
    model, snapshot, entry = tables.model_version, tables.snapshot, tables.ledger_entry
    registered = connection.execute(sa.select(model.c.model, model.c.version).order_by(model.c.model, model.c.version))
    models = [Subject(kind=SubjectKind.MODEL, name=row.model, version=str(row.version)) for row in registered]
    sealed = connection.execute(
        sa.select(tables.report.c.name, tables.report.c.sha256, sa.func.max(entry.c.seq).label("seq"))
        .join(entry, (entry.c.after == tables.report.c.sha256) & (entry.c.action == "report.seal"))
        .group_by(tables.report.c.name, tables.report.c.sha256)
        .order_by("seq")
    )
    reports = [Subject(kind=SubjectKind.REPORT, name=row.name, version=row.sha256) for row in sealed]
    evaluated = connection.execute(
        sa.select(tables.prompt_evaluation.c.prompt_id, tables.prompt_evaluation.c.version).distinct()
    )
    prompts = {(row.prompt_id, row.version) for row in evaluated}
    for dataset in connection.scalars(sa.select(snapshot.c.dataset).where(snapshot.c.dataset.startswith("prompts/"))):
        _, name, version = dataset.split("/", maxsplit=2)
        prompts.add((name, version))
    return [
        *models,
        *reports,
        *(Subject(kind=SubjectKind.PROMPT, name=name, version=version) for name, version in sorted(prompts)),
    ]


def trace(connection: sa.Connection, subject: Subject) -> Traced:
    """Follow a subject through the stores, as they are in this one read."""
    walk = _Walk(connection)
    own = _own(connection, subject)
    if not own:
        raise NotFound(kind="subject", name=subject.id, remedy="It was removed a moment ago.")
    walk.add(own)
    for one in own:
        walk.add(_evidence_about(connection, one))
    walk.climb()
    for one in own:
        walk.add(_monitoring(connection, one) if one.kind is ThingKind.MODEL else ())
    approvals = approvals_of(
        connection,
        subjects={subject.id, *map(_approval_subject, walk.found.values())},
        fingerprints={one.fingerprint for one in own if one.unique} | _prompt_fingerprints(own),
        reports={one.fingerprint for one in walk.found.values() if one.kind is ThingKind.REPORT},
    )
    walk.add(_alerts(connection, walk.found.values(), approvals))
    return Traced(
        subject=subject,
        own=tuple(own),
        things=dict(sorted(walk.found.items())),
        approvals=tuple(approvals),
        gaps=tuple(walk.gaps),
        as_of=_head(connection),
    )


def _own(connection: sa.Connection, subject: Subject) -> list[Thing]:
    match subject.kind:
        case SubjectKind.MODEL:
            table = tables.model_version
            return stored.models(connection, table.c.model == subject.name, table.c.version == int(subject.version))
        case SubjectKind.REPORT:
            return stored.reports(connection, tables.report.c.sha256 == subject.version)
        case SubjectKind.PROMPT:
            evaluation, snapshot = tables.prompt_evaluation, tables.snapshot
            version = f"{subject.name}/{subject.version}"
            return [
                *stored.snapshots(connection, snapshot.c.dataset == f"prompts/{version}"),
                *stored.snapshots(connection, snapshot.c.dataset == f"prompt_outputs/{version}"),
                *stored.evaluations(
                    connection, evaluation.c.prompt_id == subject.name, evaluation.c.version == subject.version
                ),
            ]


def _evidence_about(connection: sa.Connection, own: Thing) -> list[Thing]:
    if own.kind is ThingKind.MODEL:
        return _about_model(connection, own)
    if own.kind is ThingKind.REPORT:
        return [
            one
            for one in stored.deployments(connection)
            if any(item.get("evidence") == own.fingerprint for item in one.row["checklist"])
        ]
    return []


def _about_model(connection: sa.Connection, model: Thing) -> list[Thing]:
    """Return what was made from a version, and the requests to deploy it."""
    name, number = model.row["model"], model.row["version"]
    asset, deployment = Input(name=f"models/{name}", fingerprint=model.fingerprint), tables.deployment
    made = [
        *stored.snapshots(connection, stored.naming(tables.snapshot.c.inputs, model.fingerprint)),
        *stored.replays(connection, stored.naming(tables.replay.c.inputs, model.fingerprint)),
        *stored.reports(connection, stored.naming(tables.report.c.inputs, model.fingerprint)),
    ]
    return [
        *(one for one in made if asset in one.inputs),
        *stored.deployments(connection, deployment.c.model == name, deployment.c.model_version == number),
    ]


def _monitoring(connection: sa.Connection, model: Thing) -> list[Thing]:
    """Return how the features of a model drifted. It goes on for ever, so the data behind it is not followed."""
    below = f"drift/{model.row['model']}/"
    snapshot, event = tables.snapshot, tables.drift_event
    return [
        *stored.snapshots(connection, snapshot.c.dataset.startswith(below, autoescape=True)),
        *stored.drift_events(connection, event.c.subject.startswith(below, autoescape=True)),
    ]


def _prompt_fingerprints(own: Iterable[Thing]) -> set[str]:
    return {one.row["prompt_fingerprint"] for one in own if one.kind is ThingKind.EVALUATION}


def _approval_subject(thing: Thing) -> str:
    return stored.deployment_subject(thing.row) if thing.kind is ThingKind.DEPLOYMENT else thing.subject or thing.id


def _alerts(connection: sa.Connection, things: Iterable[Thing], approvals: Iterable[ApprovalRow]) -> list[Thing]:
    subjects = {_approval_subject(one) for one in things}
    subjects |= {str(one.row["dataset"]) for one in things if one.kind is ThingKind.SNAPSHOT}
    subjects |= {str(one.row["subject"]) for one in things if one.kind is ThingKind.DRIFT_EVENT}
    subjects |= {name for one in approvals for name in (str(one.row["subject"]), f"approvals/{one.id}")}
    return [one for one in stored.alerts(connection) if one.row["subject"] in subjects]


def _head(connection: sa.Connection) -> AsOf:
    entry = tables.ledger_entry
    row = connection.execute(sa.select(entry.c.seq, entry.c.hash).order_by(entry.c.seq.desc()).limit(1)).one_or_none()
    return AsOf(seq=0, hash="0" * 64) if row is None else AsOf(seq=row.seq, hash=row.hash)


@dataclass(kw_only=False)
class _Walk:
    """Climbs from things to what they were made from, each once."""

    connection: sa.Connection
    found: dict[str, Thing] = field(default_factory=dict[str, Thing])
    gaps: list[Gap] = field(default_factory=list[Gap])

    def __post_init__(self) -> None:
        self._waiting: list[Thing] = []

    def add(self, things: Iterable[Thing]) -> None:
        for one in things:
            if one.id not in self.found:
                self.found[one.id] = one
                self._waiting.append(one)

    def climb(self) -> None:
        while self._waiting:
            one = self._waiting.pop()
            self.add(self._beside(one))
            for named in one.inputs:
                behind = list(self._behind(named, one))
                if not behind and not named.name.startswith(_NO_ROWS):
                    self.gaps.append(Gap(named_by=one.id, name=named.name, fingerprint=named.fingerprint))
                self.add(behind)

    def _behind(self, named: Input, reader: Thing) -> Iterator[Thing]:
        """Yield what an input is."""
        subject, _, rest = named.name.partition("/")
        match subject:
            case "models":
                model = tables.model_version
                where = (model.c.model == rest, model.c.fingerprint == named.fingerprint)
                yield from stored.models(self.connection, *where)
            case "reports":
                yield from stored.reports(self.connection, tables.report.c.sha256 == named.fingerprint)
            case "evaluation":
                scenario, _, candidate = rest.partition("/")
                replay = tables.replay
                same_result = stored.replays(
                    self.connection,
                    replay.c.scenario == scenario,
                    replay.c.candidate == candidate,
                    replay.c.result_fingerprint == named.fingerprint,
                )
                # The same result may come from other bars; a report names everything its replays read.
                yield from (one for one in same_result if set(one.inputs) <= set(reader.inputs))
            case "prompts":
                name, _, version = rest.partition("@")
                snapshot = tables.snapshot
                yield from stored.snapshots(
                    self.connection,
                    snapshot.c.dataset == f"prompts/{name}/{version}",
                    snapshot.c.code_version == named.fingerprint,
                )
            case _:
                yield from self._snapshots(named, reader)

    def _snapshots(self, named: Input, reader: Thing) -> Iterator[Thing]:
        """Yield the version that a reader says it read, else each that held this content before the reader was made."""
        snapshot = tables.snapshot
        where = [snapshot.c.fingerprint == named.fingerprint]
        if "(not named)" not in named.name:
            where.append(snapshot.c.dataset == named.name)
        held = stored.snapshots(self.connection, *where)
        exact = _made_from(reader).get(named.name)
        if exact is not None:
            held = [one for one in held if one.row["version"] == exact]
        yield from (one for one in held if _was_there(one, reader))

    def _beside(self, thing: Thing) -> Iterator[Thing]:
        """Yield what vouches for a thing: the certificate and release of a view's values, the curve of a replay."""
        if thing.kind is ThingKind.REPLAY:
            dataset = f"evaluation/{thing.row['scenario']}/{thing.row['candidate']}"
            of_replay = tables.snapshot.c.dataset.in_([dataset, f"{dataset}/fills"])
            curves = stored.snapshots(self.connection, of_replay)
            yield from (one for one in curves if one.row["inputs"] == thing.row["inputs"])
        elif thing.kind is ThingKind.SNAPSHOT and thing.row["dataset"].startswith(_VIEWS):
            view = thing.row["dataset"].removeprefix(_VIEWS)
            yield from stored.certificates(self.connection, view, thing.fingerprint)
            yield from stored.releases(self.connection, view, str(thing.row["details"].get("view_version")))


def _was_there(one: Thing, reader: Thing) -> bool:
    if one.seq is not None and reader.seq is not None:
        return one.seq < reader.seq
    return one.made_at <= reader.made_at


def _made_from(reader: Thing) -> dict[str, Any]:
    details = reader.row.get("details")
    made_from = details.get("made_from") if isinstance(details, dict) else None
    return made_from if isinstance(made_from, dict) else {}
