"""Image embeddings: segments in, `events.embeddings.<camera>` out, and answers on `svc.embed.text` and `.image`.

| module | idea |
|---|---|
| `models` | what makes vectors, behind one interface |
| `segments`, `detected` | what there is to embed: keyframes of MEDIA; or what cv analysed, with the objects it found |
| `sampling`, `crops` | which frames are taken, and what of them; pure |
| `service` | what the worker loop is given |
| `queries` | texts and pictures that are asked for |

`__main__` puts them together.
"""
