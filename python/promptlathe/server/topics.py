"""What the simulated generator knows about kinds of tasks. Data, and one look-up."""

from __future__ import annotations

import re
from typing import NamedTuple


class Topic(NamedTuple):
    """A kind of task: what varies from use to use, what to attend to, and what comes out."""

    words: str  # a pattern; word beginnings, in English, French, Chinese and Russian
    variables: tuple[str, ...]
    steps: tuple[str, ...]
    prefill: str
    result: str


_TOPICS = (
    Topic(
        r"\b(?:chef|cook|recipe|meal|recette|cuisin|повар|рецепт)|厨|廚|食谱|食譜|菜",
        ("DIETARY_PREFERENCES", "AVAILABLE_INGREDIENTS", "NUMBER_OF_SERVINGS"),
        (
            "Choose dishes that respect every dietary preference without exception.",
            "Use the available ingredients first and name what has to be bought.",
            "Scale every quantity to the number of servings.",
        ),
        "recipe_planning",
        "meal_plan",
    ),
    Topic(
        r"\b(?:translat|traduc|traduir|перев[оe])|翻译|翻譯",
        ("SOURCE_TEXT", "TARGET_LANGUAGE"),
        (
            "Keep the meaning, the tone and the register of the source text.",
            "Leave names, numbers, code and markup as they are.",
            "Where a phrase has no equivalent, choose what a native speaker would say.",
        ),
        "translation_notes",
        "translation",
    ),
    Topic(
        r"\b(?:summar|résum|резюм|краткое)|总结|總結|摘要",
        ("DOCUMENT", "SUMMARY_LENGTH"),
        (
            "Find the points without which the document would say something else.",
            "Keep every figure, date and name that supports them, exactly as written.",
            "Add nothing that the document does not say.",
        ),
        "key_points",
        "summary",
    ),
    Topic(
        r"\b(?:customer|support|complain|helpdesk|client|клиент|поддержк)|客服|客户|客戶",
        ("CUSTOMER_MESSAGE", "PRODUCT_INFORMATION"),
        (
            "Work out what the customer needs, which may not be what was asked.",
            "Answer from the product information alone; promise nothing that it does not say.",
            "Be polite and brief, and end with the next step.",
        ),
        "case_analysis",
        "reply",
    ),
    Topic(
        r"\b(?:code|program|bug|software|développeur|код|программ)|代码|代碼|程序|程式",
        ("CODE", "REQUIREMENTS"),
        (
            "Read the code in full and say to yourself what it does.",
            "Check it against each requirement, and against empty, large and hostile input.",
            "Give line and reason for each finding, the gravest first.",
        ),
        "code_reading",
        "findings",
    ),
    Topic(
        r"\b(?:classif|categor|sentiment|label|классифи)|分类|分類|情感",
        ("TEXT", "CATEGORIES"),
        (
            "Read the text and mark the words that speak for one category or another.",
            "Choose exactly one category from the list.",
            "Say how sure you are: high, medium or low.",
        ),
        "evidence",
        "category",
    ),
    Topic(
        r"\b(?:extract|parse|extrai|извлеч)|提取|抽取",
        ("DOCUMENT", "FIELDS"),
        (
            "Look for each field in turn, through the whole document.",
            "Copy values exactly as they are written.",
            'Write "not found" for a field that the document does not have.',
        ),
        "reading_notes",
        "fields",
    ),
    Topic(
        r"\b(?:teach|tutor|explain|lesson|professeur|expliqu|учител|объясн)|教师|老师|解释|解釋",
        ("SUBJECT", "LEARNER_LEVEL"),
        (
            "Begin with what a learner of this level already knows.",
            "Explain one idea at a time, each with an example.",
            "End with a question that shows whether the idea was understood.",
        ),
        "lesson_plan",
        "explanation",
    ),
    Topic(
        r"\b(?:writ|story|article|blog|essay|e-?mail|poem|rédig|écri|напи|стать|письм)|写|寫",
        ("SUBJECT", "AUDIENCE", "TONE"),
        (
            "Decide what the audience should know, feel or do afterwards.",
            "Arrange the material so that each part leads to the next.",
            "Keep the tone from the first sentence to the last.",
        ),
        "outline",
        "text",
    ),
)

_OTHER = Topic(
    "",
    ("INPUT", "CONTEXT"),
    (
        "Work out what is asked and what a good answer has to contain.",
        "Use the context where it bears on the input; ignore the rest.",
        "Check the answer against the task before you give it.",
    ),
    "analysis",
    "answer",
)

_SEARCHED = 10_000  # characters; what a task is about stands near its beginning
_PATTERNS = [(re.compile(topic.words, re.IGNORECASE), topic) for topic in _TOPICS]


def topic_of(task: str) -> Topic:
    """The topic whose words come first in the task, or a general one."""
    text = task[:_SEARCHED]
    found = [(m.start(), order) for order, (p, _) in enumerate(_PATTERNS) if (m := p.search(text))]
    return _PATTERNS[min(found)[1]][1] if found else _OTHER
