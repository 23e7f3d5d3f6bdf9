"""Which ledger entries are about what a dossier speaks of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlops_assets.dossier.trace import Traced
from mlops_assets.ledger.entry import Entry

EXPORT = "dossier.export"
_OF_A_VIEW = "feature_view."


def related_entries(traced: Traced, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield, in order, the entries up to the moment of the trace that are about something in it.

    An entry is if a row names it, if it is about one of the things, if one of their ids is what it made or stands in
    its details, if it supersedes the subject, or if it changed the standing of a feature view behind it.
    """
    subjects, ids, seqs = traced.ledger_subjects, traced.ledger_ids, traced.ledger_seqs
    views = {f"feature_views/{view}" for view in traced.views}
    own = {one.fingerprint for one in traced.own if one.unique}
    for entry in entries:
        if entry.seq > traced.as_of.seq:
            return
        if entry.action == EXPORT and entry.subject != traced.subject.id:
            continue
        if (
            entry.seq in seqs
            or entry.subject in subjects
            or entry.after in ids
            or entry.before in own
            or (entry.subject in views and entry.action.startswith(_OF_A_VIEW))
            or any(isinstance(value, str) and value in ids for value in entry.details.values())
        ):
            yield entry
