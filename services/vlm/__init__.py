"""A vision language model over the cameras' video: jobs of VLM in, captions, verdicts, answers and summaries out.

| module | idea |
|---|---|
| `address`, `stretches` | VLM_URL of a managed endpoint; the stretches of a camera's time to caption; pure |
| `settings`, `metrics` | settings from the environment; exported metrics |
| `failures` | the meaning of an endpoint's errors |
| `endpoint` | an OpenAI-compatible server |
| `signing`, `sagemaker` | a model of Amazon SageMaker, by signed requests |
| `vllm_server` | a vLLM of our own |
| `model` | an endpoint with retries, and with a pause while it is away |
| `reaching` | the model of the settings, at an endpoint or at a server of ours |
| `sampling`, `frame_budget` | which frames the model gets, and how many |
| `part`, `frames` | a source of frames; these as pictures |
| `recorded`, `footage` | video that MEDIA has deleted; frames out of MEDIA, or of recordings |
| `prompt`, `tracing`, `chat` | a job's requests: their messages, their traces, and both sent |
| `kinds` | the input and the prompt of each kind of job |
| `service` | the worker loop's functions |
| `pending`, `planner` | the segments that wait; captions as jobs |
| `query`, `front` | the valid requests; `svc.ask` and planning, also while no GPU runs |

`__main__` puts them together, in two processes: the worker, and the front.
"""
