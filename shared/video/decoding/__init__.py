"""Pictures of segments, decoded in a few child processes: without passwords, with limits of memory and time.

| module | idea |
|---|---|
| `work` | requests and answers of a decoding child |
| `child` | the child: decodes one picture at a time, masks it, and writes it as JPEG |
| `decoders` | a few such children, and their queue |
"""
