"""COCO's labels: those of the embedded detector, and of most others."""

from __future__ import annotations

# COCO's ids run from 1 to 90. Ten are unused, "-" here; 0 is the background.
_BY_ID = """
background person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant - stop_sign
parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe - backpack umbrella - - handbag tie
suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle
- wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair
couch potted_plant bed - dining_table - - toilet - tv laptop mouse remote keyboard cell_phone microwave oven toaster
sink refrigerator - book clock vase scissors teddy_bear hair_drier toothbrush
"""
BY_ID = tuple(label.replace("_", " ") for label in _BY_ID.split())
LABELS = tuple(label for label in BY_ID[1:] if label != "-")
