"""What routes use of a request: its user, what they may see, its times and limits, and the errors that answer it.

| module | idea |
|---|---|
| `asker` | the user of a request, their role and cameras; pure |
| `refused` | an error with its status |
| `needs` | the role that a route needs |
| `alike` | an answer with the fields of what it is made of; pure |
| `access` | the one access check for cameras |
| `parameters` | parameters that many routes have |
| `errors` | every error as JSON with one sentence |
| `times` | times in requests |
| `cached_value` | one fetch for all requests within a short time |
| `concurrency_limit` | a limit of a person's concurrent requests; pure |
| `wrong_parts` | mistakes in a text, each with its line; pure |
| `disconnects` | work that ends if its browser disconnects |
"""
