"""The webhook of a site file: no plan sends alerts, or a secret, to another host, and no line shows a hidden part."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contract import endpoint, names
from shared.contract.endpoint import EndpointSettings
from shared.contract.reading.mistakes import Mistakes
from shared.runtime.errors import SettingError
from shared.site import export, references
from shared.site import format as site_format
from shared.site.export import document
from shared.site.plan import Plan, plan
from shared.site.state import State
from tests.support.examples import examples

OLD, OTHER = "hooks.example.org", "evil.example.net"
# Every hidden part of a URL, and every secret, has this in it.
HIDDEN = "hunter2"
HOSTS = st.sampled_from([OLD, OTHER, f"{OLD}:8443", "HOOKS.example.org:443", "[::1]"])
SECRETS = st.sampled_from(["", f"{HIDDEN}-a", f"{HIDDEN}-b"])
URLS = st.builds(
    "{}://{}{}/{}".format,
    st.sampled_from(["https", "http"]),
    st.sampled_from(["", f"me:{HIDDEN}@", f"{HIDDEN}@"]),
    HOSTS,
    st.sampled_from(["", f"{HIDDEN}/a", f"b?k={HIDDEN}", f"c#{HIDDEN}"]),
)
TEMPLATES = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["https", "http", "${S}"]),
    st.sampled_from(["", "${L}@", "me:${L}@"]),
    st.one_of(HOSTS, st.sampled_from(["${H}", f"{OLD}${{H}}", f"{OLD}:${{H}}", "a.${H}"])),
    st.sampled_from(["", "/", "/${P}", f"/{HIDDEN}/${{P}}", "?k=${P}"]),
)
# Values that try to be more than the part that they stand for.
TRICKS = st.sampled_from(
    [
        "",
        HIDDEN,
        f"{OTHER}/",
        f"x@{OTHER}/",
        f"1@{OTHER}",
        f"1/{HIDDEN}",
        f"@{OTHER}",
        f".{OTHER}/{HIDDEN}",
        "8443",
        "\x00",
    ]
)
PLACES = st.sampled_from(["", OLD, OTHER, f"{OTHER}/{HIDDEN}", f"me:{HIDDEN}@{OTHER}", f".{OTHER}", "8443"])
VARIABLES = st.fixed_dictionaries(
    {}, optional={"S": st.sampled_from(["", "https", "ftp"]), "H": PLACES, "L": TRICKS, "P": TRICKS, "K": SECRETS}
)
STORED = st.one_of(
    st.none(),
    st.just(SettingError("unusable")),
    st.builds(EndpointSettings, url=URLS, secret=SECRETS, events=st.sampled_from([("alerts",), ("incidents",)])),
)


def state_of(stored: EndpointSettings | SettingError | None) -> State:
    return State({}, {}, {}, {}, {}, (), stored)


def planned(
    section: dict[str, object] | None, stored: EndpointSettings | SettingError | None, **variables: str
) -> Plan:
    """Return the plan of a file with this section. Raises Mistakes."""
    site = site_format.site_of({"webhook": section}, "site.yaml")
    values = references.resolve_webhook(site.webhook, variables) if site.webhook else None
    return plan(site, state_of(stored), {}, ("webhook",), values)


def result(found: Plan, stored: EndpointSettings | SettingError | None) -> EndpointSettings | SettingError | None:
    """Return the endpoint that a plan leaves."""
    for change in found.changes:
        for write in change.writes:
            assert (write.bucket, write.key) == (names.ENDPOINT, endpoint.KEY)
            return endpoint.decode(write.value) if write.value is not None else None
    return stored


@given(TEMPLATES, st.sampled_from([None, "${K}"]), VARIABLES, STORED)
@settings(max_examples=examples(2000))
def test_no_plan_leaves_another_origin_or_carries_a_secret_to_one(
    url: str, secret: str | None, variables: dict[str, str], stored: EndpointSettings | SettingError | None
) -> None:
    section: dict[str, object] = {"url": url} | ({"secret": secret} if secret else {})
    try:
        found = planned(section, stored, **variables)
    except Mistakes as e:
        assert HIDDEN not in str(e)
        return
    shown = " ".join([*map(str, found.changes), *found.notices])
    assert HIDDEN not in shown
    after = result(found, stored)
    assert isinstance(after, EndpointSettings)
    before = stored if isinstance(stored, EndpointSettings) else None
    now = endpoint.origin(after.url)
    if fixed := site_format.fixed_origin(url):
        assert now == fixed, "the file's own host"
    elif "${" in url.partition("@")[2] or "${" in url.partition("://")[0]:
        assert all(variables.get(name) for name in "SH" if f"${{{name}}}" in url), "no host without its variable"
    if before and after.url == before.url and now != endpoint.origin(before.url):
        raise AssertionError("the stored URL under another origin")
    if before and before.secret and now != endpoint.origin(before.url):
        assert secret and after.secret == variables["K"], "a secret of another origin"
    if not secret and not (before and before.secret):
        assert after.secret == ""


@given(STORED.filter(lambda stored: isinstance(stored, EndpointSettings)))
@settings(max_examples=examples(300))
def test_an_exported_webhook_changes_nothing_and_hides_its_secrets(stored: EndpointSettings) -> None:
    text, left = document(state_of(stored))
    assert HIDDEN not in text and not left
    site = site_format.read(text.encode(), "site.yaml")
    assert site.webhook
    found = plan(site, state_of(stored), {}, ("webhook",), references.resolve_webhook(site.webhook, {}))
    assert found.changes == []


def test_the_variables_of_an_export_are_of_no_camera() -> None:
    stored = EndpointSettings(url=f"https://me:{HIDDEN}@{OLD}/a", secret="s")
    section = export.value(state_of(stored))["webhook"]
    variables = {name for text in section.values() for name in site_format.VARIABLE.findall(str(text))}
    assert variables == {"${SITE_WEBHOOK_LOGIN}", "${SITE_WEBHOOK_PATH}", "${SITE_WEBHOOK_SECRET}"}
    # A camera's names are as they were, whatever its id is.
    assert not [name for name in variables if name.endswith(("_URL}", "_PASSWORD}"))]


NOW = EndpointSettings(url=f"https://{OLD}/{HIDDEN}", secret="s3cret", format="slack")


@pytest.mark.parametrize(
    ("section", "stored", "lines"),
    [
        (
            {"url": f"https://{OLD}/${{P}}", "secret": "${K}", "format": "slack"},
            None,
            [f"+ webhook: url https://{OLD}, events alerts, format slack, secret"],
        ),
        ({"url": f"https://{OLD}/{HIDDEN}", "format": "slack"}, NOW, []),
        ({"url": f"https://{OLD}/b", "format": "slack"}, NOW, ["~ webhook: another path or login"]),
        (
            {"url": f"https://{OTHER}/b", "secret": "${K}", "events": ["incidents", "alerts"]},
            NOW,
            [
                f"~ webhook: url https://{OTHER} (was https://{OLD}), events alerts, incidents (was alerts), format "
                "cloudevents (was slack), another secret"
            ],
        ),
        (
            {"url": f"https://{OLD}"},
            SettingError("no"),
            [f"~ webhook: url https://{OLD}, events alerts, format cloudevents, replaces an unusable entry"],
        ),
        (None, NOW, [f"- webhook: url https://{OLD}"]),
        (None, SettingError("no"), ["- webhook: unusable"]),
        (None, None, []),
    ],
)
def test_what_differs_is_a_line(
    section: dict[str, object] | None, stored: EndpointSettings | SettingError | None, lines: list[str]
) -> None:
    assert [str(change) for change in planned(section, stored, P=HIDDEN, K="n3w").changes] == lines


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"url": f"https://{OLD}/${{X}}"}, "notice: webhook: X is not set: the stored URL stays"),
        (
            {"url": f"https://{OTHER}/${{X}}"},
            "webhook.url: the variable X is not set, and the stored URL is for another",
        ),
        ({"url": "${X}"}, "webhook.url: the variable X is not set, and it is a part of the address"),
        ({"url": f"https://{OLD}/", "secret": "${X}"}, "notice: webhook: X is not set: the stored secret stays"),
        ({"url": f"https://{OTHER}/", "secret": "${X}"}, "webhook.secret: the variable X is not set, and the stored"),
        ({"url": f"https://{OTHER}/"}, "webhook: the stored secret is for another address: give 'secret' too"),
        ({"url": f"http://{OLD}/"}, "webhook: the stored secret is for another address: give 'secret' too"),
        ({"url": "https://me:${TRICK}@hooks.example.org/"}, "webhook.url: it is no URL"),
        ({"url": "https://${TRICK}@hooks.example.org/", "secret": "${TRICK}"}, "a variable changes its host"),
    ],
)
def test_an_unset_variable_keeps_what_is_stored_for_this_address_alone(section: dict[str, object], words: str) -> None:
    try:
        found = planned(section, NOW, TRICK=f"1/{HIDDEN}")
        shown = " ".join(f"notice: {notice}" for notice in found.notices)
    except Mistakes as e:
        shown = str(e)
    assert words in shown and HIDDEN not in shown


@pytest.mark.parametrize(
    "section",
    [
        f"https://{OLD}/{HIDDEN}",
        [HIDDEN],
        {"url": f"https://{OLD}/{HIDDEN}", "secret": HIDDEN},
        {"url": f"https://me:{HIDDEN}@{OLD}/"},
        {"url": f"https://{HIDDEN}@{OLD}/"},
        {"url": f"https://me:{HIDDEN}@${{H}}/"},
        {"url": {HIDDEN: HIDDEN}},
        {"url": f"ftp://{OLD}/{HIDDEN}"},
        {"url": f"https://{OLD}:0/{HIDDEN}"},
        {"url": f"https:///{HIDDEN}"},
        {"url": f"https://\u2024\u2024/{HIDDEN}"},
        {"url": f"https://{OLD}/{HIDDEN} x"},
        {"url": f"https://{OLD}/{HIDDEN}\x00"},
        {"url": f"https://{OLD}/{HIDDEN}" * 500},
        {"url": f"https://{OLD}/", "secret": "${A}", "secret_file": "b"},
        {"url": f"https://{OLD}/", "events": []},
        {"url": f"https://{OLD}/", "events": ["counts"]},
        {"url": f"https://{OLD}/", "format": "teams"},
        {"url": f"https://{OLD}/", "secret_file": {HIDDEN: 1}},
        {"secret": "${A}"},
    ],
)
def test_an_unusable_section_is_refused_and_not_repeated(section: object) -> None:
    with pytest.raises(Mistakes) as e:
        site_format.site_of({"webhook": section}, "site.yaml")
    assert HIDDEN not in str(e.value) and all(m.path.startswith("webhook") for m in e.value.all)


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"hunter2",
        b"[" * 100_000,
        b'{"url": "https://hunter2\\u0000/"}',
        b'{"url": "https://\\u2024/hunter2"}',
        b'{"url": "https://h/", "secret": "whsec_hunter2"}',
        b'{"url": "https://h/", "secret": "hunter2\\n"}',
        b'{"url": "https://h/", "events": ["hunter2"]}',
        b'{"url": "https://h/", "events": []}',
        b'{"url": "https://h/", "format": "hunter2"}',
        b'{"url": 7}',
        b'{"url": "https://h/' + b"hunter2" * 1000 + b'"}',
        b'{"url": "https://h/\xff"}',
    ],
)
def test_an_unusable_entry_is_an_error_that_repeats_nothing(entry: bytes) -> None:
    with pytest.raises(SettingError) as e:
        endpoint.decode(entry)
    assert "hunter2" not in f"{e.value}{e.value.__cause__}" and "bucket endpoint" in str(e.value)


def test_two_files_declare_one_webhook() -> None:
    from shared.site.merging import merge

    _, found = merge([("a.yaml", {"webhook": {"url": HIDDEN}}), ("b.yaml", {"webhook": {}})])
    assert [str(m) for m in found] == ["webhook: it is in a.yaml and in b.yaml: give it once"]
