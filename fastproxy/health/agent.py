# SPDX-License-Identifier: MIT
"""The agent's port: one line of words, as HAProxy's agent-check reads it."""

from __future__ import annotations

from fastproxy.health.probe import Probe
from fastproxy.health.words import SPEECH_MAX, listen


class AgentProbe(Probe):
    """`agent.send` is sent, and the first line is what the agent says. An agent that does not
    answer has said nothing: what it said before holds."""

    def question(self) -> bytes:
        return self.check.settings.agent.send.encode()

    def look(self, ended: bool) -> None:
        text = bytes(self.data[:SPEECH_MAX]).lstrip()
        if not (ended or b"\n" in text or b"\r" in text or len(self.data) > SPEECH_MAX):
            return
        speech = listen(text.decode("latin-1"))
        if not text:
            self.say("the connection ended before a word")
        elif speech.strange:
            self.say(f"unknown words: {' '.join(speech.strange)}", "", speech)
        else:
            self.say("", text.splitlines()[0].decode("latin-1").strip(), speech)
