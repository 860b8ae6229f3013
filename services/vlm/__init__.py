"""A vision language model over the cameras' video: jobs of VLM in, captions, verdicts, answers and summaries out.

| module | idea |
|---|---|
| `settings`, `metrics` | what is read from the environment; what is exported |
| `service`, `kinds` | what the worker loop is given; what each kind of job shows the model and asks it |
| `footage`, `sampling` | frames out of MEDIA, or of recordings; which of them |
| `recorded`, `part`, `frames` | what MEDIA has let go; what frames are taken of; these as pictures |
| `chat`, `prompt`, `tracing` | a job's requests; their messages and their traces |
| `model`, `failures` | when a request is tried again; what an endpoint's errors mean |
| `reaching` | the model that settings name, at an endpoint or at a server of ours |
| `endpoint` | an OpenAI-compatible server |
| `sagemaker`, `address`, `signing` | a model of Amazon SageMaker; how VLM_URL names it; signed requests |
| `vllm_server` | a vLLM of our own |
| `front`, `query` | `svc.ask` and planning, also while no GPU runs; what may be asked |
| `planner`, `stretches` | captions as jobs; which stretches of a camera's time |

`__main__` puts them together, in two processes: the worker, and the front.
"""
