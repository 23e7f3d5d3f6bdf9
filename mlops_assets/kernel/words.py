"""What the platform says to people, in English and in Korean."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Literal

from mlops_assets.kernel.errors import UnknownReference

Locale = Literal["en", "ko"]
LOCALES: tuple[Locale, ...] = ("en", "ko")


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence in both languages, with the same placeholders."""

    en: str
    ko: str

    @property
    def placeholders(self) -> frozenset[str]:
        return placeholders(self.en)

    def in_locale(self, locale: Locale) -> str:
        return self.ko if locale == "ko" else self.en


MESSAGES: dict[str, Message] = {
    "preparing": Message("Preparing the stores in {path}", "{path}에 저장소를 준비하고 있습니다"),
    "materialised": Message("[{done}/{total}] {asset} ({seconds}s)", "[{done}/{total}] {asset} 완료 ({seconds}초)"),
    "already_right": Message(
        "{count} assets are already right; nothing to do for them",
        "자산 {count}개는 이미 최신 상태이므로 다시 만들지 않습니다",
    ),
    "starting": Message("Starting {service}", "{service} 서비스를 시작하고 있습니다"),
    "answers": Message("{service} answers ({seconds}s)", "{service} 응답 확인 ({seconds}초)"),
    "finding_right": Message("ok      {what}: {found}", "정상    {what}: {found}"),
    "finding_wrong": Message("WRONG   {what}: {found}", "이상    {what}: {found}"),
    "ready": Message("Ready. Where to look:", "준비되었습니다. 확인할 곳:"),
    "ready_dagster": Message("Dagster UI   {url}", "Dagster UI   {url}"),
    "ready_rest": Message("REST API     {url}", "REST API     {url}"),
    "ready_docs": Message("API docs     {url}", "API 문서     {url}"),
    "ready_token": Message("token file   {path}", "토큰 파일    {path}"),
    "ready_report": Message("report       {path}", "보고서       {path}"),
    "ready_stop": Message("Stop with Ctrl-C", "Ctrl-C를 누르면 종료합니다"),
    "stopping": Message("Stopping", "종료하고 있습니다"),
    "failed": Message("Failed: {step}", "실패: {step}"),
    "waiting": Message(
        "{count} assets wait for what failed: {assets}",
        "실패한 자산이 고쳐질 때까지 자산 {count}개가 기다립니다: {assets}",
    ),
    "remedy_log": Message("The full log is in {path}", "전체 로그: {path}"),
    "remedy_again": Message(
        "Run the same command again: what is right already is kept",
        "같은 명령을 다시 실행하세요. 이미 완료된 것은 그대로 둡니다",
    ),
    "alert_title": Message("[{severity}] {summary}", "[{severity}] {summary}"),
    "alert_low": Message("LOW", "낮음"),
    "alert_medium": Message("MEDIUM", "보통"),
    "alert_high": Message("HIGH", "높음"),
    "alert_critical": Message("CRITICAL", "심각"),
    "alert_subject": Message("Subject", "대상"),
    "alert_kind": Message("Kind", "종류"),
    "alert_raised_at": Message("Raised at", "발생 시각"),
    "alert_footer": Message("`mlops alerts show {id}` has the details", "자세한 내용: `mlops alerts show {id}`"),
}


@dataclass(frozen=True, slots=True)
class Words:
    """The messages in one language."""

    locale: Locale

    def say(self, key: str, **values: object) -> str:
        """Return the sentence called `key` with its placeholders filled.

        Raises:
            UnknownReference: if there is no such message.
            ValueError: if values are missing or left over.
        """
        return say(key, self.locale, **values)


def say(key: str, locale: Locale, **values: object) -> str:
    """Return the sentence called `key` in `locale`; see `Words.say`."""
    message = MESSAGES.get(key)
    if message is None:
        raise UnknownReference(kind="message", name=key, known=MESSAGES, asked_by="words")
    if message.placeholders != values.keys():
        raise ValueError(f"message {key!r} needs exactly {sorted(message.placeholders)}, got {sorted(values)}")
    return message.in_locale(locale).format(**values)


def placeholders(text: str) -> frozenset[str]:
    """Return the names of the placeholders in a format string."""
    return frozenset(name for _, name, _, _ in Formatter().parse(text) if name is not None)
