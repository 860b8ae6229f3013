"""The page Ask: questions about cameras' video and summaries of it, by a vision language model.

| module | idea |
|---|---|
| `questions` | the API's questions and answers |
| `queue_status` | what a question waits for |
| `answer_stream` | the questions of one request, until each is answered or the browser has left |
| `recent` | answers of the last day |
| `state`, `routes` | the state of the page; its routes |
"""
