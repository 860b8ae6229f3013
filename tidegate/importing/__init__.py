"""Import the configuration of another system: a site file, and a table of what became of each field.

| module | idea |
|---|---|
| `report` | the table: each field once, and what becomes of it |
| `source` | a foreign file as a value: size, aliases and names are bounded |
| `tokens`, `addresses`, `polygons` | names, addresses without passwords, and corners as fractions |
| `site_file` | the text of the site file, checked by its format |
| `frigate_settings` | a camera's settings, with those of all cameras under them |
| `frigate_streams`, `frigate_rules`, `frigate_recording` | parts of a camera of Frigate |
| `frigate_fields` | fields of Frigate without a counterpart |
| `frigate` | a Frigate configuration |
| `vss` | cameras of NVIDIA's Video Search and Summarization blueprint |
| `keda` | a ScaledObject that scales by lag |
"""
