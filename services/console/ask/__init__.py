"""The page Ask: questions about cameras' video and summaries of it, by a vision language model.

| module | idea |
|---|---|
| `questions` | the API's questions and answers |
| `answer_stream` | one request: what its questions wait for, and their answers, until the browser has left |
| `recent` | answers of the last day |
| `state`, `routes` | the state of the page; its routes |
"""
