"""A vision language model over the cameras' video: jobs of VLM in, captions, verdicts, answers and summaries out.

| module | idea |
|---|---|
| `address` | VLM_URL of a managed endpoint; pure |
| `settings`, `metrics` | settings from the environment; exported metrics |
| `frames` | which frames the model gets, out of MEDIA or of recordings |
| `endpoints` | the model behind an endpoint or in a vLLM of our own, and requests to it |
| `kinds` | the input and the prompt of each kind of job |
| `static_scene` | captions of a static scene, repeated without a request |
| `service` | the worker loop's functions |
| `planning` | jobs: of captions by a schedule, and of the questions on `svc.ask` |
| `app` | the work of the two processes: the worker, and the front, which runs also while no GPU does |

`__main__` starts one of them.
"""
