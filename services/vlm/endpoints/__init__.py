"""The model behind an endpoint, and requests to it.

| module | idea |
|---|---|
| `failures` | the meaning of an endpoint's errors |
| `openai` | an OpenAI-compatible server |
| `sagemaker` | a model of Amazon SageMaker, by signed requests |
| `vllm_server` | a vLLM of our own |
| `model` | an endpoint with retries, and with a pause while it is away |
| `connection` | the model of the settings, at an endpoint or at a server of ours |
| `prompt`, `tracing`, `chat` | a job's requests: their messages, their traces, and both sent |
"""
