"""Computes embeddings of pictures: segments in, `events.embeddings.<camera>` out.

It also answers `svc.embed.text` and `svc.embed.image`, for search.

| module | idea |
|---|---|
| `model_spec` | what EMBED_MODEL names, without loading it |
| `settings` | settings from the environment |
| `models` | embedding models, behind one interface |
| `sampling` | which frames to embed; pure |
| `views` | the pictures of a message, of live or recorded video, and their vectors; pure |
| `segments`, `detected` | the inputs: keyframes of MEDIA, or the frames that cv analysed, with crops of their objects |
| `static_scene` | vectors of a static scene, repeated without inference |
| `service` | the worker loop's functions: read, embed, make the event |
| `queries` | embeds texts and pictures on request |
| `app` | the worker with its input |

`__main__` puts them together.
"""
