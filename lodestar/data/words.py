"""What the simulated shop's goods are called: words that carry an item's topic and style, so that text alone says what goes together."""

import numpy as np
from numpy.typing import NDArray

# Category: what it sells. Topics past the last of these get made-up names.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "kitchen": ("kettle", "teapot", "skillet", "grater", "apron", "corkscrew"),
    "garden": ("trowel", "planter", "rake", "birdhouse", "hose", "lantern"),
    "sport": ("racket", "dumbbell", "yoga mat", "helmet", "jersey", "whistle"),
    "music": ("ukulele", "metronome", "drumstick", "harmonica", "songbook", "tuner"),
    "office": ("notebook", "stapler", "desk lamp", "fountain pen", "binder", "whiteboard"),
    "travel": ("suitcase", "rucksack", "travel pillow", "passport holder", "compass", "water bottle"),
    "home": ("blanket", "cushion", "candle", "picture frame", "vase", "doormat"),
    "toys": ("puzzle", "kite", "marble run", "teddy bear", "spinning top", "building blocks"),
    "clothing": ("scarf", "raincoat", "cardigan", "socks", "beanie", "belt"),
    "workshop": ("hammer", "screwdriver", "spirit level", "toolbox", "sandpaper", "clamp"),
    "beauty": ("soap", "hairbrush", "hand cream", "mirror", "perfume", "bath salts"),
    "pets": ("dog lead", "cat tree", "fish tank", "feeding bowl", "chew toy", "pet bed"),
}
STYLES: dict[str, tuple[str, ...]] = {
    "rustic": ("rustic", "oaken", "hand-made"),
    "modern": ("sleek", "minimal", "modern"),
    "playful": ("bright", "cheerful", "playful"),
    "sturdy": ("sturdy", "rugged", "heavy-duty"),
}
_ONSETS, _VOWELS, _CODAS = "bdfgklmnprstvz", "aeiou", ("", "n", "r", "l", "s")
_OPEN = len(_ONSETS) * len(_VOWELS)
_COMPANY = "co"  # c begins no made-up syllable, so no maker is called like a topic


def topics(count: int) -> list[tuple[str, str]]:
    """(category, noun) of every topic: plain words from each category in turn, then made-up ones."""
    rounds = zip(*([(category, noun) for noun in nouns] for category, nouns in CATEGORIES.items()), strict=True)
    plain = [topic for turn in rounds for topic in turn]
    categories = list(CATEGORIES)
    made_up = [(categories[number % len(categories)], made_up_word(number)) for number in range(count - len(plain))]
    return (plain + made_up)[:count]


def made_up_word(number: int) -> str:
    """A pronounceable word, another one for every number."""
    left, last = divmod(number, _OPEN * len(_CODAS))
    coda, rest = divmod(last, _OPEN)
    word = _syllable(rest) + _CODAS[coda]
    while True:
        left, digit = divmod(left, _OPEN)
        word = _syllable(digit) + word
        if left == 0:
            return word


def titles(nouns: list[str], topic: NDArray[np.int32], style: NDArray[np.int32], chance: np.random.Generator) -> list[str]:
    """One per item: an adjective of its style, a maker and its topic's noun."""
    adjectives = list(STYLES.values())
    which = chance.integers(0, len(adjectives[0]), size=len(topic))
    maker = chance.permutation(len(topic))
    return [
        f"{adjectives[of_style][word].capitalize()} {made_up_word(number).capitalize()}{_COMPANY} {nouns[of_topic]}"
        for of_style, word, number, of_topic in zip(style.tolist(), which.tolist(), maker.tolist(), topic.tolist(), strict=True)
    ]


def _syllable(number: int) -> str:
    return _ONSETS[number // len(_VOWELS)] + _VOWELS[number % len(_VOWELS)]
