"""Container images of Tidegate, built and tested without a daemon.

| module | idea |
|---|---|
| `engine` | buildah and podman, configured for this machine |
| `build` | `python -m tools.image.build`: the images of deploy/Dockerfile, their sizes, and their base image |
| `sbom` | `python -m tools.image.sbom`: the content of the images, as CycloneDX |
"""
