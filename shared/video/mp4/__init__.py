"""The boxes of an MP4, without libav.

| module | idea |
|---|---|
| `announced` | counts the frames that an MP4 announces, before libav does |
| `boxes` | reads and writes boxes |
| `parameter_sets` | names codecs as browsers do |
| `moov`, `moof` | the head of a fragmented MP4, and its fragments |
"""
