"""ONVIF: cameras on the local network, and the streams of one camera. Their answers are hostile input, with limits.

    device = await read(Address.parse("10.0.0.7"), Login("viewer", password))
    best = suited(device.profiles)

| module | idea |
|---|---|
| `values` | addresses, devices and profiles; the errors |
| `elements` | XML of strangers as elements: no entities, no namespaces, limits for size, depth and number |
| `probe` | WS-Discovery: the question, and devices from its answers |
| `discovery` | the question on each network interface, and answers until a time |
| `soap` | a request's envelope with a login, and the fault of an answer |
| `http` | one bounded request to one address, without redirects |
| `media` | the requests of a device, and its clock, profiles and URLs from the answers |
| `device` | a device's model and streams, with or without a login |
| `survey` | all devices that answer, with the streams of those that want no login |
| `choice` | the main stream and the substream for detection, and whether they may get the password |
| `picture` | the first picture of a stream, by ingest's code in a child process |

Each module imports only those above it in this table.
"""
