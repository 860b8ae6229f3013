"""A vision language model over the cameras' video: jobs of VLM in, captions, verdicts, answers and summaries out.

| module | idea |
|---|---|
| `service`, `kinds` | what the worker loop is given; what each kind of job shows the model and asks it |
| `footage`, `sampling` | frames out of MEDIA; which of them |
| `chat`, `prompt`, `tracing` | a job's requests; their messages and their traces |
| `model`, `endpoint` | asking again, or leaving alone; the OpenAI-compatible server itself |
| `vllm_server` | a vLLM of our own |
| `front`, `query` | questions on `svc.ask`, while no GPU runs too |
| `planner`, `stretches` | captions as jobs: when, and of what |

`__main__` puts them together, in two processes: the worker, and the front.
"""
