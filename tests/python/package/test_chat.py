"""Conversations with a scripted model: what is fed where, and how answers end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executorch_webgpu.chat import ContextFull, Conversation, PromptTooLong
from executorch_webgpu.decoders.sources import open_source
from executorch_webgpu.errors import DeviceLostError, WebGPUError
from executorch_webgpu.generate import Sampler
from executorch_webgpu.interrupt import stop_on_interrupt
from executorch_webgpu.saved_chat import load, save
from executorch_webgpu.thinking import Thinking
from executorch_webgpu.tokenizer import ChatTokenizer

EOS = 2


@pytest.fixture(scope="session")
def tokenizer() -> ChatTokenizer:
    tokenizer = open_source("smollm2", context=2).tokenizer
    assert tokenizer is not None
    return tokenizer


class ScriptedModel:
    """Answers with given tokens, and keeps what a key-value cache would hold."""

    def __init__(self, *answers: Sequence[int], context: int = 1000, chunk: int = 64) -> None:
        self.context, self.chunk = context, chunk
        self.script = [token for answer in answers for token in answer]
        self.cache: list[int] = []
        self.calls: list[tuple[int, int]] = []  # tokens, position
        self.fails = False

    def __call__(self, tokens: Sequence[int], position: int) -> np.ndarray:
        if self.fails:
            raise WebGPUError("the device is lost")
        assert 0 < len(tokens) <= self.chunk
        assert position <= len(self.cache), "a gap in the cache"
        assert position + len(tokens) <= self.context
        self.cache = [*self.cache[:position], *tokens]
        self.calls.append((len(tokens), position))
        logits = np.zeros(49152, np.float32)
        # A prompt is several tokens or ends with the template's newline; only its last piece
        # is followed by a choice, so the script moves on when a choice is made.
        logits[self.script[0]] = 1.0
        return logits

    def choose(self, logits: np.ndarray, _: Sequence[int]) -> int:
        self.script.pop(0)
        return int(logits.argmax())


def talk(
    model: ScriptedModel, tokenizer: ChatTokenizer, system: str | None = None, **more: Any
) -> Conversation:
    return Conversation(model, tokenizer, model.choose, [EOS], system, **more)


def rendered(tokenizer: ChatTokenizer, *turns: tuple[str, str]) -> list[int]:
    messages = [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]
    return tokenizer.encode(tokenizer.render(messages))


def test_answer_is_streamed(tokenizer: ChatTokenizer) -> None:
    model = ScriptedModel([*tokenizer.encode("Hello there, friend."), EOS])
    pieces = list(talk(model, tokenizer).ask("Hi"))
    assert len(pieces) > 1
    assert "".join(pieces) == "Hello there, friend."


def test_only_new_tokens_are_fed(tokenizer: ChatTokenizer) -> None:
    answers = [[*tokenizer.encode("One."), EOS], [*tokenizer.encode("Two."), EOS]]
    model = ScriptedModel(*answers)
    conversation = talk(model, tokenizer)
    assert "".join(conversation.ask("first?")) == "One."
    fed = len(model.cache)
    assert conversation.position == fed
    assert "".join(conversation.ask("second?")) == "Two."
    assert all(position >= fed for _, position in model.calls[3:])

    whole = rendered(tokenizer, ("first?", "One."), ("second?", "Two."))
    assert model.cache == whole[: len(model.cache)]
    assert conversation.position == len(model.cache)


def test_long_prompts_come_in_chunks(tokenizer: ChatTokenizer) -> None:
    model = ScriptedModel([EOS], chunk=16)
    list(talk(model, tokenizer).ask("word " * 50))
    assert max(count for count, _ in model.calls) == 16
    assert [position for _, position in model.calls] == list(range(0, len(model.cache), 16))


def test_characters_are_never_broken(tokenizer: ChatTokenizer) -> None:
    text = "😀👩‍👩‍👧‍👦日本é"
    model = ScriptedModel([*tokenizer.encode(text), EOS])
    pieces = list(talk(model, tokenizer).ask("Hi"))
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in pieces)
    assert "".join(pieces) == text


def test_max_tokens_ends_the_answer_and_not_the_conversation(tokenizer: ChatTokenizer) -> None:
    long = tokenizer.encode("one two three four five six")
    model = ScriptedModel(long[:3], [*tokenizer.encode("ok"), EOS])
    conversation = talk(model, tokenizer)
    cut = "".join(conversation.ask("count", max_tokens=3))
    assert cut == tokenizer.decode(long[:3])
    assert "".join(conversation.ask("go on")) == "ok"
    whole = rendered(tokenizer, ("count", cut), ("go on", "ok"))
    assert model.cache == whole[: len(model.cache)]


def test_stopping_keeps_the_conversation(tokenizer: ChatTokenizer) -> None:
    words = tokenizer.encode("one two three four")
    model = ScriptedModel(words[:1], [*tokenizer.encode("sure"), EOS])
    conversation = talk(model, tokenizer)
    heard: list[str] = []
    for piece in conversation.ask("count", stopped=lambda: len(heard) == 1):
        heard.append(piece)
    assert heard == ["one"]
    assert "".join(conversation.ask("go on")) == "sure"
    whole = rendered(tokenizer, ("count", "".join(heard)), ("go on", "sure"))
    assert model.cache == whole[: len(model.cache)]


def test_stopping_while_the_prompt_is_read(tokenizer: ChatTokenizer) -> None:
    model = ScriptedModel([*tokenizer.encode("yes"), EOS], chunk=8)
    conversation = talk(model, tokenizer)
    assert list(conversation.ask("a b c d e f", stopped=lambda: len(model.calls) == 2)) == []
    assert conversation.position == 16
    assert "".join(conversation.ask("still there?")) == "yes"
    whole = rendered(tokenizer, ("a b c d e f", ""), ("still there?", "yes"))
    assert model.cache == whole[: len(model.cache)]


def test_ctrl_c_stops_the_answer_only(tokenizer: ChatTokenizer) -> None:
    model = ScriptedModel(tokenizer.encode("one two three four five"), [EOS])
    conversation = talk(model, tokenizer)
    before = signal.getsignal(signal.SIGINT)  # ignored in a background job
    with stop_on_interrupt() as stopped:
        for _ in conversation.ask("count", stopped=stopped):
            if not stopped():
                signal.raise_signal(signal.SIGINT)
    assert conversation.timing.answer_tokens == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_second_ctrl_c_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), stop_on_interrupt():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_answer_to_the_end_of_the_context(tokenizer: ChatTokenizer) -> None:
    prompt = tokenizer.encode(tokenizer.render([{"role": "user", "content": "Hi"}]))
    model = ScriptedModel(tokenizer.encode("a b c d e f g h"), context=len(prompt) + 3)
    conversation = talk(model, tokenizer)
    heard: list[str] = []
    with pytest.raises(ContextFull, match=f"context of {model.context} tokens is full"):
        for piece in conversation.ask("Hi"):
            heard.append(piece)
    assert len(model.cache) == model.context
    assert "".join(heard) == "a b c d"  # three fed, and a fourth from the last one's logits


def test_question_that_does_not_fit_changes_nothing(tokenizer: ChatTokenizer) -> None:
    model = ScriptedModel(
        [*tokenizer.encode("ok"), EOS], [*tokenizer.encode("ok"), EOS], context=90
    )
    conversation = talk(model, tokenizer)
    list(conversation.ask("Hi"))
    before = conversation.position
    with pytest.raises(PromptTooLong, match="do not fit into the model's context of 90"):
        list(conversation.ask("word " * 100))
    assert conversation.position == before
    assert "".join(conversation.ask("Hi again")) == "ok"


def test_the_oldest_turns_make_room(tokenizer: ChatTokenizer) -> None:
    ok = [*tokenizer.encode("ok"), EOS]
    model = ScriptedModel(*[ok] * 12, context=200)
    conversation = talk(model, tokenizer, system="Be brief.")
    dropped = []
    for i in range(12):
        assert "".join(conversation.ask(f"question number {i} of many")) == "ok"
        dropped.append(conversation.dropped)
        said = tokenizer.decode(model.cache)
        assert "Be brief." in said and f"number {i} of" in said
    assert sum(dropped) > 0
    # They go by turns, some at once, so that what is kept is not read anew each time.
    assert all(count % 2 == 0 for count in dropped) and dropped.count(0) > 6
    messages, _, _ = conversation.state()
    assert [m["role"] for m in messages[:2]] == ["system", "user"]
    assert model.cache == tokenizer.encode(tokenizer.render(messages[:-1])) + ok[:-1]


def test_an_answer_ends_before_a_stop_text(tokenizer: ChatTokenizer) -> None:
    answers = [*tokenizer.encode("one, two STOP three"), EOS], [*tokenizer.encode("ST four"), EOS]
    model = ScriptedModel(*answers)
    conversation = talk(model, tokenizer, stop_texts=["STOP", " never"])
    assert "".join(conversation.ask("Hi")) == "one, two "
    model.script = [*answers[1]]
    assert "".join(conversation.ask("Go on")) == "ST four"
    # What came behind the stop text is not in the conversation.
    whole = rendered(tokenizer, ("Hi", "one, two "), ("Go on", "ST four"))
    assert model.cache == whole[: len(model.cache)]


def test_only_what_a_template_changed_is_read_anew(tokenizer: ChatTokenizer) -> None:
    model = ScriptedModel([*tokenizer.encode("one"), EOS], [*tokenizer.encode("two"), EOS])
    conversation = talk(model, tokenizer, stop_texts=["!"])
    list(conversation.ask("A question that is quite long"))
    conversation._is_exact = False  # as after a stop text, or a template that rewrites
    model.calls.clear()
    list(conversation.ask("Another"))
    assert model.calls[0][1] > 10


def test_tools_reach_the_template(tokenizer: ChatTokenizer) -> None:
    tokenizer._config["chat_template"] = (
        "{% for t in tools or [] %}<{{ t.name }}>{% endfor %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    with_tools = ChatTokenizer(tokenizer._tokenizer, tokenizer._config)
    model = ScriptedModel([*with_tools.encode("call"), EOS], [*with_tools.encode("done"), EOS])
    conversation = talk(model, with_tools, tools=[{"name": "clock"}])
    list(conversation.ask("What time?"))
    list(conversation.ask("noon", role="tool"))
    text = with_tools.render(conversation.state()[0], [{"name": "clock"}])
    assert text == "<clock>[user]What time?[assistant]call[tool]noon[assistant]done"


def test_clear_starts_over_and_keeps_the_system_message(tokenizer: ChatTokenizer) -> None:
    model = ScriptedModel([*tokenizer.encode("Arr."), EOS], [*tokenizer.encode("Arr."), EOS])
    conversation = talk(model, tokenizer, system="You are a pirate.")
    list(conversation.ask("Hi"))
    first = list(model.cache)
    conversation.clear()
    assert conversation.is_empty
    list(conversation.ask("Hi"))
    assert model.cache == first
    assert "pirate" in tokenizer.decode(first)


def test_failing_model_can_be_asked_again(tokenizer: ChatTokenizer) -> None:
    model = ScriptedModel([*tokenizer.encode("ok"), EOS])
    conversation = talk(model, tokenizer)
    model.fails = True
    with pytest.raises(WebGPUError, match="device is lost"):
        list(conversation.ask("Hi"))
    model.fails = False
    assert "".join(conversation.ask("Hello?")) == "ok"
    whole = rendered(tokenizer, ("Hi", ""), ("Hello?", "ok"))
    assert model.cache == whole[: len(model.cache)]


def test_timing_counts_tokens(tokenizer: ChatTokenizer) -> None:
    answer = tokenizer.encode("one two three")
    model = ScriptedModel([*answer, EOS])
    conversation = talk(model, tokenizer)
    list(conversation.ask("Hi"))
    timing = conversation.timing
    assert timing.answer_tokens == len(answer)
    assert timing.prompt_tokens + timing.answer_tokens == len(model.cache)
    assert "tok/s" in str(timing)


def test_sampler_without_temperature_takes_the_likeliest() -> None:
    logits = np.array([0.0, 3.0, 2.9], np.float32)
    assert [Sampler()(logits) for _ in range(5)] == [1] * 5


def test_sampler_respects_top_k_and_seed() -> None:
    logits = np.array([5.0, 4.0, 4.5, -1.0, -2.0], np.float32)
    draws = [Sampler(1.0, top_k=3, seed=s)(logits) for s in range(200)]
    assert set(draws) == {0, 1, 2}
    again = [Sampler(1.0, top_k=3, seed=s)(logits) for s in range(200)]
    assert draws == again


def test_sampler_respects_top_p_and_min_p() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    many = range(300)
    assert {Sampler(1.0, 0, top_p=0.75, seed=s)(logits) for s in many} == {0, 1}
    assert {Sampler(1.0, 0, min_p=0.25, seed=s)(logits) for s in many} == {0, 1, 2}
    assert {Sampler(1.0, 0, top_p=0.0, seed=s)(logits) for s in many} == {0}
    assert {Sampler(1.0, 0, min_p=1.0, seed=s)(logits) for s in many} == {0}


def test_sampler_makes_what_was_said_less_likely() -> None:
    logits = np.array([2.0, 1.5, -1.0], np.float32)
    sampler = Sampler(repetition_penalty=1.5)
    assert not sampler.takes_likeliest
    assert [sampler(logits), sampler(logits, [0]), sampler(logits, [0, 1, 0])] == [0, 1, 0]
    below = np.array([-1.0, -1.2], np.float32)
    assert sampler(below, [0]) == 1
    assert logits.tolist() == [2.0, 1.5, -1.0]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("answer", "begun", "thought", "said"),
    [
        ("<think>hm, well</think>Yes.", False, "hm, well", "Yes."),
        ("hm</think>\nYes.<think>so?</think> No.", True, "hm", "\nYes.<think>so?</think> No."),
        ("\n <think>so</think>Yes.", False, "so", "Yes."),
        ("The tag <think> means thought.", False, "", "The tag <think> means thought."),
        ("No thought: 1 < 2, <thin", False, "", "No thought: 1 < 2, <thin"),
        ("<think>without an end", False, "without an end", ""),
        ("", True, "", ""),
    ],
)
def test_thoughts_are_told_from_answers(
    answer: str, begun: bool, thought: str, said: str, size: int
) -> None:
    thinking = Thinking(begun)
    pieces = [answer[i : i + size] for i in range(0, len(answer), size)]
    told = [t for piece in pieces for t in thinking.push(piece)] + list(thinking.finish())
    assert "".join(text for is_thought, text in told if is_thought) == thought
    assert "".join(text for is_thought, text in told if not is_thought) == said


def test_choices_where_numbers_are_none() -> None:
    with pytest.raises(WebGPUError, match=r"no numbers \(NaN\)"):
        Sampler()(np.array([1.0, np.nan], np.float32))
    logits = np.array([0.0, 3.0, 2.9], np.float32)
    assert Sampler(1e-320, seed=1)(logits) == 1


def test_a_saved_conversation_goes_on(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "chat.json"
    words = tokenizer.encode(" one two three four five six seven")
    first, again = RuleModel(words, 400), RuleModel(words, 400)

    def open_talk(model: RuleModel) -> Conversation:
        return Conversation(model, tokenizer, Sampler(), [EOS], system="Count.")

    conversation, other = open_talk(first), open_talk(again)
    list(conversation.ask("Hi", 9))
    save(path, conversation, tokenizer)
    load(path, other, tokenizer)
    assert list(other.ask("More", 9)) == list(conversation.ask("More", 9))
    assert again.cache == first.cache


def test_files_that_are_no_saved_conversation(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    conversation = talk(ScriptedModel([*tokenizer.encode("ok"), EOS]), tokenizer)
    list(conversation.ask("Hi"))
    before = conversation.state()
    save(path, conversation, tokenizer)
    good = json.loads(path.read_text())
    for change, why in (
        ({"version": 2}, "is no saved conversation of version 1"),
        ({"tokenizer": "other"}, "was had with a model of another tokenizer"),
        ({"tokens": [10**9]}, "its messages or tokens are broken"),
        ({"tokens": [True]}, "its messages or tokens are broken"),
        ({"tokens": None}, "its messages or tokens are broken"),
        ({"text": 1}, "its messages or tokens are broken"),
        ({"messages": [{"role": "user"}]}, "its messages or tokens are broken"),
        ({"messages": [{"role": "user", "content": 1}]}, "its messages or tokens are broken"),
    ):
        path.write_text(json.dumps(good | change))
        with pytest.raises(WebGPUError, match=why):
            load(path, conversation, tokenizer)
    for text in ("", "{", "[]", "[" * 100000, "\0"):
        path.write_text(text)
        with pytest.raises(WebGPUError, match="is no saved conversation"):
            load(path, conversation, tokenizer)
    with pytest.raises(WebGPUError, match="cannot be read"):
        load(tmp_path, conversation, tokenizer)
    assert conversation.state() == before
    with pytest.raises(WebGPUError, match="cannot be saved in"):
        save(path / "below_a_file", conversation, tokenizer)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WebGPUError, match="is there already, and is no file"):
        save(tmp_path / "pipe", conversation, tokenizer)
    (tmp_path / "link").symlink_to(path)
    save(tmp_path / "link", conversation, tokenizer)
    assert (tmp_path / "link").is_symlink() and json.loads(path.read_text())["version"] == 1


def test_sampler_follows_the_distribution() -> None:
    logits = np.log(np.array([0.7, 0.2, 0.1], np.float32))
    sampler = Sampler(1.0, top_k=0, seed=0)
    counts = np.bincount([sampler(logits) for _ in range(4000)], minlength=3) / 4000
    assert np.allclose(counts, [0.7, 0.2, 0.1], atol=0.03)


class RuleModel:
    """Its next token follows from the latest one and its position, so it may run ahead."""

    def __init__(self, words: Sequence[int], context: int) -> None:
        self.words, self.context, self.chunk = words, context, 64
        self.cache: list[int] = []

    def after(self, token: int, position: int) -> int:
        return EOS if position % 41 == 40 else self.words[(token + position) % len(self.words)]

    def __call__(self, tokens: Sequence[int], position: int) -> np.ndarray:
        assert position <= len(self.cache), "a gap in the cache"
        self.cache = [*self.cache[:position], *tokens]
        assert len(self.cache) <= self.context
        logits = np.zeros(49152, np.float32)
        logits[self.after(tokens[-1], len(self.cache) - 1)] = 1.0
        return logits

    def continue_greedily(
        self, token: int, position: int, count: int, stop_tokens: frozenset[int]
    ) -> list[int]:
        tokens: list[int] = []
        while len(tokens) < count and not (tokens and tokens[-1] in stop_tokens):
            fed = tokens[-1] if tokens else token
            tokens.append(int(self([fed], position + len(tokens)).argmax()))
        ahead = min(2, self.context - len(self.cache))
        self.cache = [*self.cache, *[7] * ahead]  # fed before the stop was seen
        return tokens


def test_several_tokens_at_once_are_the_same_conversation(tokenizer: ChatTokenizer) -> None:
    words = tokenizer.encode(" one two three four five six seven eight nine")

    def converse(at_once: bool) -> list[object]:
        model = RuleModel(words, context=400)
        greedily = model.continue_greedily if at_once else None
        conversation = Conversation(
            model, tokenizer, Sampler(0.0), [EOS], continue_greedily=greedily
        )
        heard: list[object] = []
        try:
            for question, most in (("Hi", None), ("go on", 5), ("and?", 1), *[("more", None)] * 9):
                heard.append("".join(conversation.ask(question, most)))
                heard += [conversation.position, model.cache[: conversation.position]]
        except (ContextFull, PromptTooLong) as end:
            heard.append(str(end))
        return heard

    assert converse(at_once=True) == converse(at_once=False)


class LostModel(RuleModel):
    """Its device is lost at every `every`-th call, and its cache with it."""

    def __init__(self, words: Sequence[int], every: int) -> None:
        super().__init__(words, context=400)
        self.every, self.calls, self.revivals = every, 0, 0
        self.lost = False

    def __call__(self, tokens: Sequence[int], position: int) -> np.ndarray:
        self.calls += 1
        self.lost |= self.every > 0 and self.calls % self.every == 0
        if self.lost:
            raise DeviceLostError("the device was lost")
        return super().__call__(tokens, position)

    def continue_greedily(
        self, token: int, position: int, count: int, stop_tokens: frozenset[int]
    ) -> list[int]:
        tokens: list[int] = []
        while len(tokens) < count and not (tokens and tokens[-1] in stop_tokens):
            try:
                fed = tokens[-1] if tokens else token
                tokens.append(int(self([fed], position + len(tokens)).argmax()))
            except DeviceLostError:
                if not tokens:
                    raise
                break
        return tokens

    def revive(self) -> None:
        self.revivals += 1
        self.lost, self.cache = False, []


@pytest.mark.parametrize("at_once", [True, False])
def test_a_lost_device_changes_no_answer(tokenizer: ChatTokenizer, at_once: bool) -> None:
    words = tokenizer.encode(" one two three four five six seven eight nine")

    def converse(every: int) -> tuple[list[str], int]:
        model = LostModel(words, every)
        greedily = model.continue_greedily if at_once else None
        conversation = Conversation(
            model, tokenizer, Sampler(0.0), [EOS], continue_greedily=greedily
        )
        questions = [("Hi", None), ("word " * 80, 20), ("and?", 1)]
        return ["".join(conversation.ask(*asked)) for asked in questions], model.revivals

    undisturbed, _ = converse(0)
    answers, revivals = converse(10)
    assert answers == undisturbed
    assert revivals > 2
    with pytest.raises(DeviceLostError):  # no device lives for a single call
        converse(1)
