"""The page Ask: questions about cameras' video and summaries of it, by a vision language model.

| module | idea |
|---|---|
| `questions` | what is asked and what is answered, as the API has them |
| `waiting` | what a question waits for |
| `asking` | questions of one request, until each is answered or nobody waits any more |
| `recent` | what was answered in the last day |
"""
