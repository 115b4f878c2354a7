"""Text from which the quantizer learns which inputs of a layer matter.

A few short conversations on mixed subjects, in the register of a chat model: prose, lists, numbers,
code and another language. Only second moments are taken from it, so a thousand tokens are plenty.
"""

from __future__ import annotations

CONVERSATIONS: list[tuple[str, str]] = [
    (
        "Write a short story about a lighthouse keeper.",
        "Old Marta had kept the light at Gull Point for thirty-one years. Every evening she "
        "climbed the ninety-four steps, wiped the salt from the lens and waited for the first "
        "ship. One winter night a storm put out the lamp, and far below she heard a bell. She "
        "lit a lantern, swung it over the rail until her arms shook, and counted the minutes. At "
        "dawn a small blue boat lay safe in the harbour. Its captain brought her a loaf of bread "
        "and said nothing at all, which she liked best.",
    ),
    (
        "Explain how plants make food from sunlight.",
        "Plants make food by photosynthesis. Chlorophyll, the green pigment in their leaves, "
        "absorbs light and uses its energy to split water into hydrogen and oxygen. The oxygen "
        "is released into the air. The hydrogen is then combined with carbon dioxide to build "
        "glucose, a sugar that the plant can burn for energy or turn into starch and cellulose. "
        "In short: carbon dioxide plus water plus light gives sugar plus oxygen.",
    ),
    (
        "What is 12 times 7, and how do I work it out in my head?",
        "12 times 7 is 84. Split 12 into 10 and 2: ten times seven is 70, two times seven is 14, "
        "and 70 + 14 = 84. The same trick works for 15 times 6: 10 x 6 = 60, 5 x 6 = 30, so the "
        "answer is 90.",
    ),
    (
        "List five capitals in Europe with their countries.",
        "Here are five European capitals:\n\n1. Paris, the capital of France\n2. Berlin, the "
        "capital of Germany\n3. Madrid, the capital of Spain\n4. Warsaw, the capital of Poland\n"
        "5. Lisbon, the capital of Portugal\n\nLet me know if you would like to hear more about "
        "any of them!",
    ),
    (
        "Write a Python function that counts the vowels in a string.",
        "Here is a simple function:\n\n```python\ndef count_vowels(text):\n    vowels = "
        'set("aeiou")\n    return sum(1 for c in text.lower() if c in vowels)\n```\n\nIt turns '
        "the text to lower case and adds one for every character that is a vowel. For example, "
        '`count_vowels("Hello World")` returns 3.',
    ),
    (
        "Who was Ada Lovelace?",
        "Ada Lovelace (1815-1852) was an English mathematician. She worked with Charles Babbage "
        "on his Analytical Engine, a mechanical computer that was never finished. Her notes on "
        "the machine describe a method to compute Bernoulli numbers, and many people call it the "
        "first computer program. She also saw that such a machine could work with symbols and "
        "music, not only with numbers.",
    ),
    (
        "How do I boil an egg?",
        "To boil an egg, put it in a pot and cover it with cold water. Bring the water to a "
        "boil, turn off the heat and put on the lid. Wait about six minutes for a soft yolk or "
        "twelve minutes for a hard one. Then move the egg into a bowl of ice water so that it "
        "stops cooking and is easier to peel.",
    ),
    (
        "My friend is sad because she failed an exam. What should I say to her?",
        "I'm sorry to hear that. You could tell her that one exam does not define her, and that "
        "you are there for her. Listen first, and don't try to fix everything at once. Later you "
        'might ask, "Would it help to look at it together?" Small things, like a walk or a cup '
        "of tea, often mean more than advice.",
    ),
    (
        "Translate to French: The cat sleeps on the red chair near the window.",
        "Le chat dort sur la chaise rouge près de la fenêtre.",
    ),
    (
        "Summarize why the Roman Empire declined.",
        "Historians give several reasons. The economy suffered from high taxes, inflation and a "
        "dependence on slave labour. Political power changed hands often, and civil wars "
        "weakened the army. The borders were too long to defend against repeated invasions. In "
        "395 the empire was divided in two; the western half fell in 476, while the eastern "
        "half, with its capital at Constantinople, lasted until 1453.",
    ),
]
