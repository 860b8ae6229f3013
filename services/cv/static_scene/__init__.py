"""Static scenes cost little: an unchanged segment skips the detector.

    watched = await scenes.begin(message, head, wants, detector.name)
    decoded = await segments.decode(..., probe=watched.probe)     # only its first frame, if that suffices
    watched.match                                                   # the reference that it matches, or None
    scenes.record_result(watched, frames, images)

A reference has the detector's objects in a fully analysed segment, and a small grey picture of its first frame. Another
segment's picture is compared with it, block by block. If light, camera shake and each block's own noise explain all
differences, the objects are still there: the reference's boxes are published again, without an inference. A still
object is a part of the picture, and its box a part of the reference.

| module | idea |
|---|---|
| `scene` | references and noise of a camera: matched, learned, merged |
| `entry` | a scene in the bucket's format |
| `gate` | a replica's scenes and decisions |
| `scene_check` | the check of one segment during decoding |
| `shared_scenes` | scenes in the bucket, shared by all replicas |
| `earlier`, `deferring` | the segment before one with news, which is backfilled |
| `video` | all of it, for the service |

All but the last four are pure. `shared/static_scene` compares the pictures. bench/static_scene measures savings and
misses.
"""
