"""Makes vectors of pictures: segments come in, `events.embeddings.<camera>` go out.

It also answers `svc.embed.text` and `svc.embed.image`, for those who search.

| module | idea |
|---|---|
| `models` | models that make vectors, behind one interface |
| `segments`, `detected` | what is embedded: keyframes of MEDIA, or the frames that cv analysed, with their objects |
| `sampling`, `crops` | which frames are taken, and what is cut out of them; pure |
| `looking` | what is seen in a segment's pictures, wherever these come from; pure |
| `service` | what the worker loop is given: read, embed, make the event |
| `queries` | makes vectors of texts and pictures that are asked for |

`__main__` puts them together.
"""
