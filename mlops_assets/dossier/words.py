"""What the first page of a dossier says, in English and in Korean."""

from __future__ import annotations

from mlops_assets.kernel.words import Locale, Message

WORDS: dict[str, Message] = {
    "dossier": Message("Dossier", "감사 자료"),
    "kind_models": Message("model version", "모델 버전"),
    "kind_reports": Message("evaluation report", "평가 보고서"),
    "kind_prompts": Message("prompt version", "프롬프트 버전"),
    "made": Message(
        "Made by {by} on {at} UTC, as of ledger entry {seq}.",
        "{by} 님이 {at} UTC에 만들었습니다. 원장 기록 {seq}번까지의 상태입니다.",
    ),
    "approvals": Message("Approvals", "승인"),
    "entries": Message("Ledger entries", "원장 기록"),
    "findings": Message("To look at first", "먼저 확인할 것"),
    "things": Message("Traced things", "추적한 항목"),
    "no_findings": Message("Nothing stands out.", "특별히 확인할 것이 없습니다."),
    "find_override": Message(
        "Approved by emergency override, a violation", "비상 승인으로 통과되었으며 위반으로 집계됩니다"
    ),
    "find_approval_over": Message("Its approval is over", "승인 기간이 끝났습니다"),
    "find_no_approval": Message("Nobody was asked to approve it", "승인 요청이 없었습니다"),
    "find_gap": Message("Named by fingerprint and not in the stores", "지문으로 언급되었지만 저장소에 없습니다"),
    "find_look_ahead": Message("A feature view peeks into the future", "특징 뷰가 미래 값을 참조합니다"),
    "find_open_drift": Message("Drift that nobody has resolved", "해결되지 않은 드리프트가 있습니다"),
    "find_failed_evaluation": Message("An evaluation that failed", "통과하지 못한 평가가 있습니다"),
    "find_failed_checks": Message("A replay with failed checks", "검사를 통과하지 못한 재현이 있습니다"),
    "find_declaration_changed": Message(
        "The catalogue says something else now than what was used", "카탈로그의 선언이 사용 당시와 다릅니다"
    ),
    "find_declaration_gone": Message("No longer in the catalogue", "카탈로그에 더 이상 없습니다"),
    "what": Message("What this is", "대상"),
    "fingerprint": Message("Fingerprint", "지문"),
    "made_when": Message("Made", "작성"),
    "made_from": Message("Made from", "근거 자료"),
    "code_version": Message("Code version", "코드 버전"),
    "owner": Message("Owner", "담당"),
    "metrics": Message("Metrics", "지표"),
    "approvals_note": Message(
        "A request is bound to the fingerprint of its evidence: other evidence needs another request.",
        "승인 요청은 증거의 지문에 묶여 있습니다. 증거가 달라지면 새로 요청해야 합니다.",
    ),
    "no_approvals": Message("No request for approval is about it.", "관련된 승인 요청이 없습니다."),
    "override": Message("emergency override", "비상 승인"),
    "tier": Message("tier {tier}, {quorum} to approve", "{tier}등급, 승인 {quorum}명 필요"),
    "valid_until": Message("until {at} UTC", "{at} UTC까지"),
    "parties": Message("Parties", "관련자"),
    "decisions": Message("Decisions", "결정"),
    "issued_by": Message("token issued by {who}", "토큰 발급자: {who}"),
    "evidence": Message("Evidence", "증거"),
    "part": Message("Part", "항목"),
    "note": Message("Note", "비고"),
    "lineage": Message("Lineage", "계보"),
    "lineage_note": Message(
        "From data to decision. Data files are named by their SHA-256 and stay in the platform's stores; everything "
        "else is in this archive.",
        "데이터에서 결정까지의 흐름입니다. 데이터 파일은 SHA-256으로만 적혀 있고 플랫폼에 보관됩니다. 그 밖의 것은 "
        "모두 이 압축 파일에 들어 있습니다.",
    ),
    "thing": Message("Thing", "항목"),
    "files": Message("Files", "파일"),
    "data_files": Message("data files: {count}", "데이터 파일 {count}개"),
    "timeline": Message("Timeline", "연표"),
    "timeline_note": Message(
        "The ledger's entries about it and what it rests on, in order; the same lines are in entries.jsonl.",
        "대상과 그 근거에 관한 원장 기록을 순서대로 보입니다. 같은 내용이 entries.jsonl에 있습니다.",
    ),
    "seq": Message("No.", "번호"),
    "at": Message("When (UTC)", "시각 (UTC)"),
    "actor": Message("Who", "누가"),
    "action": Message("What", "무엇을"),
    "subject": Message("About", "대상"),
    "reason": Message("Reason", "이유"),
    "declarations": Message("Declarations", "선언"),
    "declarations_note": Message(
        "The files of the catalogue behind it, and whether they still say what was used.",
        "관련된 카탈로그 파일과, 지금도 사용 당시와 같은지를 보입니다.",
    ),
    "standing": Message("Standing", "상태"),
    "standing_as_used": Message("as used", "사용 당시와 같음"),
    "standing_changed": Message("changed since", "이후 변경됨"),
    "standing_gone": Message("gone", "없음"),
    "standing_in_force": Message("in force", "시행 중"),
    "code": Message("Code and libraries", "코드와 라이브러리"),
    "verify": Message("How to verify this", "검증 방법"),
    "verify_unpack": Message("Unpack the archive and go into its folder.", "압축을 풀고 그 폴더로 이동합니다."),
    "verify_sums": Message(
        "Every file is what it was. manifest.json names all but itself and the folder ledger; SHA256SUMS says so too.",
        "모든 파일이 그대로인지 확인합니다. manifest.json은 자신과 ledger 폴더를 뺀 모든 파일을 적고, "
        "SHA256SUMS도 같습니다.",
    ),
    "verify_manifest": Message(
        "The manifest is the one that was recorded: its SHA-256 is `after` of the last dossier.export entry of this "
        "subject.",
        "목록이 기록된 것과 같은지 확인합니다. manifest.json의 SHA-256이 이 대상의 마지막 dossier.export 기록의 "
        "after와 같아야 합니다.",
    ),
    "verify_ledger": Message(
        "The ledger is whole up to the signed checkpoint. Take the public key from somebody you trust, not from here; "
        "the first key of this installation is {key}.",
        "서명된 체크포인트까지 원장이 온전한지 확인합니다. 공개 키는 이 파일이 아니라 믿을 수 있는 사람에게서 "
        "받으세요. 이 설치의 첫 키는 {key}입니다.",
    ),
    "verify_all": Message("Or all of it at once, on the archive:", "또는 압축 파일 그대로 한 번에 확인합니다."),
    "stage_data": Message("Data", "데이터"),
    "stage_features": Message("Features", "특징"),
    "stage_training_sets": Message("Training sets", "학습 데이터"),
    "stage_models": Message("Models", "모델"),
    "stage_predictions": Message("Predictions", "예측"),
    "stage_explanations": Message("Explanations", "설명"),
    "stage_replays": Message("Replays", "재현"),
    "stage_reports": Message("Reports", "보고서"),
    "stage_drift": Message("Drift", "드리프트"),
    "stage_deployments": Message("Deployments", "배포"),
    "stage_prompts": Message("Prompts", "프롬프트"),
    "stage_answers": Message("Answers", "답변"),
    "stage_prompt_evaluations": Message("Prompt evaluations", "프롬프트 평가"),
    "stage_releases": Message("Feature releases", "특징 릴리스"),
    "stage_certificates": Message("Look-ahead certificates", "미래 참조 검사"),
    "stage_alerts": Message("Alerts", "알림"),
}


def word(phrase: str, *, locale: Locale, **values: object) -> str:
    """Return a phrase with its placeholders filled."""
    message = WORDS[phrase]
    if message.placeholders != values.keys():
        raise ValueError(f"phrase {phrase!r} needs exactly {sorted(message.placeholders)}, got {sorted(values)}")
    return message.in_locale(locale).format(**values)
