"""Item titles of the simulated shop: their words carry topic and style, so that item text alone is informative."""

import numpy as np

from lodestar.schema.arrays import Int, Ints

# Nouns by category, one topic each; further topics get made-up words.
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
_COMPANY = "co"  # no made-up syllable starts with c, so no brand has a topic's name


def topics(count: int) -> list[tuple[str, str]]:
    """(category, noun) of `count` topics: real nouns, one from each category in turn, then made-up words."""
    rounds = zip(*([(category, noun) for noun in nouns] for category, nouns in CATEGORIES.items()), strict=True)
    real_topics = [topic for round_of_topics in rounds for topic in round_of_topics]
    categories = list(CATEGORIES)
    made_up_topics = [(categories[number % len(categories)], made_up_word(number)) for number in range(count - len(real_topics))]
    return (real_topics + made_up_topics)[:count]


def made_up_word(number: int) -> str:
    """A pronounceable word, unique for every number from 0."""
    rest_of_number, last = divmod(number, _OPEN * len(_CODAS))
    coda, open_syllable = divmod(last, _OPEN)
    word = _syllable(open_syllable) + _CODAS[coda]
    while True:
        rest_of_number, digit = divmod(rest_of_number, _OPEN)
        word = _syllable(digit) + word
        if rest_of_number == 0:
            return word


def titles(nouns: list[str], topic: Int[Ints, " items"], style: Int[Ints, " items"], rng: np.random.Generator) -> list[str]:
    """Titles of items from topic and style [items]: an adjective of the style, a unique brand and the topic's noun."""
    adjectives = list(STYLES.values())
    adjective_index = rng.integers(0, len(adjectives[0]), size=len(topic))
    brand = rng.permutation(len(topic))
    return [
        f"{adjectives[of_style][word].capitalize()} {made_up_word(number).capitalize()}{_COMPANY} {nouns[of_topic]}"
        for of_style, word, number, of_topic in zip(style.tolist(), adjective_index.tolist(), brand.tolist(), topic.tolist(), strict=True)
    ]


def _syllable(number: int) -> str:
    return _ONSETS[number // len(_VOWELS)] + _VOWELS[number % len(_VOWELS)]
