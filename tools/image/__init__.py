"""Container images of Tidegate, built and tried without a daemon.

| module | idea |
|---|---|
| `engine` | buildah and podman as they work on this machine |
| `base` | what an image is built on: Python's official one, or one made of Debian's packages |
| `sbom` | `python -m tools.image.sbom`: what is in them, as CycloneDX |
| `build` | `python -m tools.image.build`: the images of deploy/Dockerfile, and their sizes |
"""
