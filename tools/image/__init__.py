"""Container images of Tidegate, built and tested without a daemon.

| module | idea |
|---|---|
| `engine` | buildah and podman, configured for this machine |
| `base` | the base image: Python's official image, or one built from Debian's packages |
| `build` | `python -m tools.image.build`: the images of deploy/Dockerfile, and their sizes |
| `sbom` | `python -m tools.image.sbom`: the content of the images, as CycloneDX |
"""
