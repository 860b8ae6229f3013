"""A vision language model over the cameras' video: jobs of VLM in, captions, verdicts, answers and summaries out.

| module | idea |
|---|---|
| `settings`, `metrics` | settings from the environment; exported metrics |
| `service`, `kinds` | the worker loop's functions; the input and the prompt of each kind of job |
| `footage`, `sampling` | frames out of MEDIA, or of recordings; which of them |
| `recorded`, `part`, `frames` | video that MEDIA has deleted; the source of frames; these as pictures |
| `chat`, `prompt`, `tracing` | a job's requests; their messages and their traces |
| `model`, `failures` | when a request is retried; the meaning of an endpoint's errors |
| `reaching` | the model of the settings, at an endpoint or at a server of ours |
| `endpoint` | an OpenAI-compatible server |
| `sagemaker`, `address`, `signing` | a model of Amazon SageMaker; its VLM_URL; signed requests |
| `vllm_server` | a vLLM of our own |
| `front`, `query` | `svc.ask` and planning, also while no GPU runs; the valid requests |
| `planner`, `stretches`, `pending` | captions as jobs; the stretches of a camera's time; the segments that wait |

`__main__` puts them together, in two processes: the worker, and the front.
"""
