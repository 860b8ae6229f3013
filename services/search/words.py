"""Finds the labels of a detector that a text names. Pure.

Example:
    named_labels("two men and a dog near the bikes", {"person", "dog", "bicycle"})    # ["person", "dog", "bicycle"]
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache

# Detectors write both "traffic light" and "traffic_light".
_WORD = re.compile(r"[^\W_]+")

_IRREGULAR = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "gentlemen": "gentleman",
    "policemen": "policeman",
    "children": "child",
    "mice": "mouse",
    "knives": "knife",
    "calves": "calf",
    "geese": "goose",
    "oxen": "ox",
}
# A plural of a word that ends so takes "es".
_SIBILANT = ("s", "x", "z", "ch", "sh", "o")

_PEOPLE = """
    man woman child boy girl kid baby toddler pedestrian guy lady gentleman human somebody someone anybody anyone
    everybody everyone crowd passenger driver walker runner jogger rider policeman policewoman officer guard worker
    customer visitor intruder burglar thief
"""

# Everyday words for COCO's labels, in the singular. A place named after a thing maps to no label.
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_PEOPLE.split(), ("person",)),
    "cyclist": ("person", "bicycle"),
    "bicyclist": ("person", "bicycle"),
    "biker": ("person", "motorcycle"),
    "motorcyclist": ("person", "motorcycle"),
    "skateboarder": ("person", "skateboard"),
    "snowboarder": ("person", "snowboard"),
    "surfer": ("person", "surfboard"),
    "skier": ("person", "skis"),
    "horse rider": ("person", "horse"),
    "bike": ("bicycle",),
    "motorbike": ("motorcycle",),
    "motor bike": ("motorcycle",),
    "moped": ("motorcycle",),
    "scooter": ("motorcycle",),
    "taxi": ("car",),
    "cab": ("car",),
    "automobile": ("car",),
    "van": ("car", "truck"),
    "lorry": ("truck",),
    "pickup": ("truck",),
    "fire engine": ("truck",),
    "vehicle": ("car", "truck", "bus", "motorcycle"),
    "tram": ("train",),
    "plane": ("airplane",),
    "aeroplane": ("airplane",),
    "aircraft": ("airplane",),
    "ship": ("boat",),
    "ferry": ("boat",),
    "traffic signal": ("traffic light",),
    "stoplight": ("traffic light",),
    "hydrant": ("fire hydrant",),
    "puppy": ("dog",),
    "kitten": ("cat",),
    "pet": ("cat", "dog"),
    "pony": ("horse",),
    "calf": ("cow",),
    "bull": ("cow",),
    "cattle": ("cow",),
    "lamb": ("sheep",),
    "rucksack": ("backpack",),
    "purse": ("handbag",),
    "bag": ("handbag", "backpack", "suitcase"),
    "luggage": ("suitcase",),
    "necktie": ("tie",),
    "ball": ("sports ball",),
    "football": ("sports ball",),
    "basketball": ("sports ball",),
    "ski": ("skis",),
    "racket": ("tennis racket",),
    "mug": ("cup",),
    "glass": ("wine glass",),
    "doughnut": ("donut",),
    "sofa": ("couch",),
    "table": ("dining table",),
    "desk": ("dining table",),
    "plant": ("potted plant",),
    "television": ("tv",),
    "screen": ("tv",),
    "monitor": ("tv",),
    "notebook": ("laptop",),
    "phone": ("cell phone",),
    "mobile phone": ("cell phone",),
    "cellphone": ("cell phone",),
    "smartphone": ("cell phone",),
    "remote control": ("remote",),
    "fridge": ("refrigerator",),
    "hair dryer": ("hair drier",),
    "hairdryer": ("hair drier",),
    "bus stop": (),
    "bus station": (),
    "bus lane": (),
    "train station": (),
    "car park": (),
    "bike lane": (),
    "bicycle lane": (),
    "boat house": (),
}

Phrase = tuple[str, ...]


def named_labels(text: str, vocabulary: Collection[str]) -> list[str]:
    """Return the labels of `vocabulary` that `text` names, in order of appearance, each once.

    Whole words count, in any case, singular or plural. The longest name goes first, so that a hot dog is no dog.
    Everyday words stand for COCO's labels: a lorry is a truck, a cyclist is a person and a bicycle.
    """
    names = _names(frozenset(vocabulary))
    longest = max(map(len, names), default=0)
    words = _words(text)
    found: dict[str, None] = {}
    at = 0
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            *head, last = words[at : at + length]
            labels = next((names[name] for form in _singulars(last) if (name := (*head, form)) in names), None)
            if labels is not None:
                found.update(dict.fromkeys(labels))
                at += length
                break
        else:
            at += 1
    return list(found)


@lru_cache(maxsize=16)
def _names(vocabulary: frozenset[str]) -> Mapping[Phrase, tuple[str, ...]]:
    """Return the labels of each phrase. A label's own name wins over a synonym, a synonym over a singular."""
    names: dict[Phrase, tuple[str, ...]] = {}
    labels = [(_words(label), label) for label in sorted(vocabulary)]
    for words, label in labels:
        if words:
            names[words] = (*names.get(words, ()), label)
    exact = dict(names)
    for synonym, of in _SYNONYMS.items():
        meant = tuple(label for name in of for label in exact.get(_words(name), ()))
        if meant or not of:
            names.setdefault(_words(synonym), meant)
    for words, label in labels:
        for form in _singulars(words[-1]) if words else ():
            names.setdefault((*words[:-1], form), (label,))
    return names


def _words(text: str) -> Phrase:
    return tuple(_WORD.findall(text.casefold()))


def _singulars(word: str) -> Iterator[str]:
    """Yield the word itself, then each word that it may be the plural of."""
    yield word
    if word in _IRREGULAR:
        yield _IRREGULAR[word]
    if word.endswith("ies"):
        yield word[:-3] + "y"
    if word.endswith("es") and word[:-2].endswith(_SIBILANT):
        yield word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]
